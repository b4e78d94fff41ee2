"""What watches a model while it answers: ranges, moments, gradients, importance."""
