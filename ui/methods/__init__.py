"""The Methods page, and methods as rows wherever one is chosen."""
