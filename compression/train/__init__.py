"""Training: tensors on the device, a row-wise optimiser for tables, hooks, early stopping, resumable checkpoints."""
