"""Exported programs of torch.export, read without running them."""
