"""Re-parameterisation."""
