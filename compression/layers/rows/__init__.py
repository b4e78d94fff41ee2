"""Layers in place of embedding tables: ids in, vectors out."""
