"""What a new training starts from: settings by the size of the data and of its tables. No torch.

    settings = starting_settings(n_rows=80_000, n_ids=2_700, embedding_dim=16)     # ReferenceParams(**settings)

`TrainParams` keeps the defaults of the first release for what is stored; these are the defaults of what is new.
docs/decisions/125 says how they were chosen.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from compression.train.params import TrainParams

BATCH_SIZES = (256, 4096)
STEPS_IN_EPOCH = 150  # about as many as a batch size is chosen for
EPOCHS = (3, 20)
EPOCHS_FOR_ONE_ROW_AN_ID = 4.0
MOST_ROWS_SEEN = 20_000_000  # over all epochs, as far as three epochs allow
L2_ROWS = 80  # a penalty that weighs as much as this many rows, for weights of size 1
MOST_L2 = 0.02
FIRST_ORDER_L2 = 0.1  # weights that are added to a logit are larger than those of vectors that are multiplied
WHOLE_TABLES = 4_000_000  # numbers in all tables, up to which every step moves whole tables


class ReferenceParams(TrainParams):
    """How to train a model of the zoo from scratch."""

    embedding_std: float = Field(
        0.01, ge=1e-6, le=1, description="Standard deviation of the tables before training.")


def starting_settings(*, n_rows: int, n_ids: int, embedding_dim: int = 16) -> dict[str, Any]:
    """Settings for `n_rows` training rows over tables of `n_ids` rows together.

    One cycle of Adam with L2, from small vectors. The more rows speak for each id, the more epochs they bear before
    they are memorised. Whole tables where they are small: L2 and Adam are then what their papers say.
    """
    rows_per_id = n_rows / max(1, n_ids)
    epochs = min(EPOCHS[1], round(EPOCHS_FOR_ONE_ROW_AN_ID * rows_per_id**0.3), MOST_ROWS_SEEN // max(1, n_rows))
    epochs = max(EPOCHS[0], epochs)
    whole = n_ids * (embedding_dim + 1) <= WHOLE_TABLES
    batch = 2 ** round(math.log2(max(1.0, n_rows / STEPS_IN_EPOCH)))
    return {"epochs": epochs, "patience": epochs, "batch_size": min(BATCH_SIZES[1], max(BATCH_SIZES[0], batch)),
            "learning_rate": 1e-3, "embedding_learning_rate": 0.01, "schedule": "one_cycle", "warmup": 0.3,
            "table_optimizer": "adam", "table_rows": "all" if whole else "read",
            "embedding_l2": float(f"{min(MOST_L2, L2_ROWS / max(1, n_rows)):.1g}"),
            "first_order_l2": FIRST_ORDER_L2, "embedding_std": 1e-4}

