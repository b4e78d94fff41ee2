"""Training as a step."""
