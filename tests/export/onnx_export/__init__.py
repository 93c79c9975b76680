"""Tests of export/onnx_export/."""
