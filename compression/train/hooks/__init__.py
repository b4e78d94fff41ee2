"""What lives through a training: each hook is called by the training loop at every step."""
