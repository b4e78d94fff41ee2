"""ONNX files: check them, bind their inputs, write a model folder."""
