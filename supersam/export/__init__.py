"""Subnets as ONNX files, for TensorRT, ONNX Runtime, OpenVINO and whatever else reads them."""
