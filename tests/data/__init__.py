"""Tests of compression/data."""
