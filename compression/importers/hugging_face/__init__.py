"""Models of Hugging Face and sentence-transformers: a config, weights, a tokenizer."""
