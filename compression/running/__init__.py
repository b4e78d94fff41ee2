"""Carry a recipe out: apply, fine-tune, export, check, measure; the gate, the cache of steps, the first look."""
