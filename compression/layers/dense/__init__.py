"""Layers in place of dense ones: vectors in, vectors out."""
