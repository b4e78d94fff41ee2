"""What the whole house speaks: records, declarations of methods, recipes, errors, metrics. Plain Python, no torch."""
