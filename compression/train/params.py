"""Settings of a training or fine-tuning, with their bounds. No torch.

The defaults are those of the first release, so that a stored recipe trains as it did; what a new training or a new
step starts from is in compression/train/starting.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compression.spec.digests import LATER
from compression.spec.method import Params

Schedule = Literal["constant", "warmup", "cosine", "one_cycle", "plateau"]


class TrainParams(Params):
    """How long, how fast and how carefully to train."""

    epochs: int = Field(30, ge=1, le=200, description="At most this many passes over the training rows.")
    batch_size: int = Field(1024, ge=16, le=65536, description="Rows in a training step.")
    learning_rate: float = Field(1e-3, ge=1e-6, le=0.1, description="Step size of the dense layers (Adam).")
    embedding_learning_rate: float = Field(
        0.02, ge=1e-5, le=1.0, description="Step size of the embedding tables.")
    weight_decay: float = Field(0.0, ge=0, le=1.0, description="Pull of the dense layers towards zero (decoupled).")
    embedding_decay: float = Field(
        0.0, ge=0, le=10.0, description="Pull of the table rows in a batch towards zero (decoupled).")
    patience: int = Field(
        2, ge=1, le=50, description="Stop after this many epochs without a better validation score; the best is kept.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of the dense layers on a GPU; on a CPU always float32.")
    schedule: Annotated[Schedule, LATER] = Field(
        "constant", description="How step sizes change: constant; warmup rises and stays; cosine rises and falls to "
                                "zero; one_cycle does so from a 25th; plateau divides by 10 after an epoch that did "
                                "not improve.")
    warmup: Annotated[float, LATER] = Field(
        0.1, ge=0, le=0.9, multiple_of=0.05, description="Share of all steps in which step sizes rise (warmup, cosine, "
                                                         "one_cycle).")
    table_optimizer: Annotated[Literal["adagrad", "adam"], LATER] = Field(
        "adagrad", description="Optimizer of the tables: Adagrad with one accumulator a row, or Adam.")
    table_rows: Annotated[Literal["read", "all"], LATER] = Field(
        "read", description="Rows that a step moves: those that the batch reads, or the whole table. The whole table "
                            "takes time that grows with it.")
    embedding_l2: Annotated[float, LATER] = Field(
        0.0, ge=0, le=1, description="L2 penalty on the tables, as a part of the loss: half of this times the sum of "
                                     "squares. Rows that a batch doesn't read are caught up with when they are read.")
    first_order_l2: Annotated[float, LATER] = Field(
        1.0, ge=0, le=10, description="Share of that penalty for tables of one column, whose weights are added to the "
                                      "score as they are.")
    embedding_rate: Annotated[Literal["absolute", "relative"], LATER] = Field(
        "absolute", description="Step size of the tables as it is, or times the root mean square of each table's "
                                "weights at the start.")
    clip_norm: Annotated[float, LATER] = Field(
        0.0, ge=0, le=1000, description="Gradients with a larger norm over all weights are scaled down to it; 0 leaves "
                                        "them as they are.")
