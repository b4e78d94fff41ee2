"""Contracts that methods, formats, runtimes and tasks are held to, and tiny models to hold them with. Needs pytest."""
