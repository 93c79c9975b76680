"""PyTorch networks as ONNX files with ShiftConv and AdderConv nodes."""
