"""Runtimes, a file each, found by compression.spec.runtime. Importing this room loads no runtime's libraries."""
