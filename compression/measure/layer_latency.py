"""How long a dense layer takes beside the one it replaced: both exported alone, timed in pairs as whole files are."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from compression.export.layer import INPUT, export_layer
from compression.measure.pairs import ROUNDS, clock_of, opened, paired_ratio, time_pairs
from compression.spec.records import Target

PAIRS_A_ROUND = {1: 100}  # by batch size
PAIRS_A_ROUND_OTHERWISE = 16
SECONDS_A_ROUND = 0.3
MIN_PAIRS_A_ROUND = 6
POOL = 8


class Ratio(NamedTuple):
    """Time of the new layer over time of the old one, with its 95 % interval, and by how much it is longer."""

    value: float
    low: float
    high: float
    longer_us: float  # microseconds a call; below 0 where the new layer is faster


def time_layers(old: nn.Module, new: nn.Module, in_features: int, target: Target) -> dict[int, Ratio]:
    """Batch size → ratio, on random inputs half of which are 0, as behind a ReLU.

    Raises ExportError or MeasureError where a layer can't be run alone.
    """
    ratios = {}
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        files = [export_layer(layer, in_features, Path(scratch) / f"{name}.onnx")
                 for name, layer in (("new", new), ("old", old))]
        for size in target.batch_sizes:
            random = np.random.default_rng(size)
            batches = [{INPUT: np.maximum(random.standard_normal((size, in_features), np.float32), 0)}
                       for _ in range(POOL)]
            rounds = []
            for number in range(ROUNDS):
                first, second = opened(*files, target, swapped=bool(number % 2))
                with closing(first), closing(second):
                    rounds.append(time_pairs(
                        first.bind(batches), second.bind(batches), seconds=SECONDS_A_ROUND,
                        min_pairs=MIN_PAIRS_A_ROUND, max_pairs=PAIRS_A_ROUND.get(size, PAIRS_A_ROUND_OTHERWISE),
                        clock=clock_of(target), generator=np.random.default_rng([size, number]),
                        report=lambda progress: None))
            longer = np.mean([np.median(pairs.model) - np.median(pairs.baseline) for pairs in rounds])
            ratios[size] = Ratio(*paired_ratio(rounds), longer_us=1e6 * float(longer))
    return ratios
