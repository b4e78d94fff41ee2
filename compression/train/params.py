"""Settings of a training or fine-tuning, with their bounds. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compression.spec.method import Params


class TrainParams(Params):
    """How long, how fast and how carefully to train."""

    epochs: int = Field(30, ge=1, le=200, description="At most this many passes over the training rows.")
    batch_size: int = Field(1024, ge=16, le=65536, description="Rows in a training step.")
    learning_rate: float = Field(1e-3, ge=1e-6, le=0.1, description="Step size of the dense layers (Adam).")
    embedding_learning_rate: float = Field(
        0.02, ge=1e-5, le=1.0, description="Step size of the embedding tables (row-wise Adagrad).")
    weight_decay: float = Field(0.0, ge=0, le=1.0, description="Pull of the dense layers towards zero (decoupled).")
    embedding_decay: float = Field(
        0.0, ge=0, le=10.0, description="Pull of the table rows in a batch towards zero (decoupled).")
    patience: int = Field(
        2, ge=1, le=50, description="Stop after this many epochs without a better validation score; the best is kept.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the dense layers on a GPU; on a CPU always float32.")
