"""Ten architectures as other people write and export them, through every importer."""
