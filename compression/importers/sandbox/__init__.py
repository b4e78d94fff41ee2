"""A child process that has made itself harmless reads what a stranger made."""
