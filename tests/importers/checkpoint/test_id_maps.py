"""Which objects of a checkpoint are mappings from values to rows."""

from __future__ import annotations

from compression.importers.checkpoint.id_maps import mappings_in_values


def test_only_numberings_without_gaps_count_as_mappings():
    found = mappings_in_values({
        "token2id": {"a": 1, "b": 2}, "gaps": {"a": 0, "b": 2}, "twice": {"a": 0, "b": 0}, "item_ids": [9, 8, 7],
        "layers": [64, 32], "optimizer": {"params": {"a": 0, "b": 1}}, "epoch": 3})
    assert found == {"token2id": {"a": 1, "b": 2}, "item_ids": {"9": 0, "8": 1, "7": 2}}
