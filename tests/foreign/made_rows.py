"""Made-up rows of a click log for libraries that read arrays."""

from __future__ import annotations

import numpy as np

ROWS = 64
SIZES = {"user": 30, "item": 25, "city": 4}


def made_rows() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    tags = draw.integers(0, 7, (400, 4))
    return {name: draw.integers(0, size, 400) for name, size in SIZES.items()} | {
        "tags": np.sort(tags, 1)[:, ::-1].copy(), "age": draw.random(400).astype(np.float32),
        "price": draw.random(400).astype(np.float32)}
