"""What watches a model while it answers: ranges, moments, gradients, importance.

Weights of rows count wherever the loss is asked: by Taylor scores, heads, permutations. What layers meet (ranges,
moments, entropy, gradients of the logit) is read off all rows alike: a model answers every row that comes, however much
that row counted in training.
"""
