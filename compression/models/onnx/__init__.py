"""An ONNX graph as a torch module: its operators in steps, its weights raised to ordinary layers."""
