"""Keras 3 models (.keras, .h5, .weights.h5 with their JSON), read without Keras and written as ONNX."""
