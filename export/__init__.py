"""Trained PyTorch models to ONNX files with ShiftConv and AdderConv operators."""
