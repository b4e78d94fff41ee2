"""Datasets: their description, reading, splitting, encoding, and the samples."""
