"""Shared weights."""
