"""Weights without a config.json: the family is recognised by names and shapes, the rest is asked, tried or guessed."""
