"""The zoo (one architecture a file), the signature of a model, and readers for uploads."""
