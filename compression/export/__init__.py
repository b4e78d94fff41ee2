"""Write a model as ONNX, hold the file against torch, and pack what a person takes away."""
