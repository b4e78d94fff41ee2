"""The words of a method's declaration: what it leaves in a model for later steps, and what it needs of earlier ones.

    effects=Effects(makes={Effect.CODES: TABLES}, needs_float=TABLES)

compression/spec/order.py reads them, and nothing else, to say which step may come before or after which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from compression.spec.records import Part

Parts = frozenset[Part]
Severity = Literal["error", "warning"]

NO_PARTS: Parts = frozenset()
TABLES: Parts = frozenset({Part.EMBEDDING})
DENSE: Parts = frozenset({Part.DENSE, Part.INTERACTION, Part.OUTPUT})
ALL_PARTS: Parts = TABLES | DENSE


class Effect(StrEnum):
    """What is true of a part of the model after a step."""

    ZEROS = "zeros"  # single weights are zero, now or after the next training
    CODES = "codes"  # layers hold codes: no step reads them as float weights
    FROZEN = "frozen"  # no training moves what the layers hold
    SPARSE = "sparse storage"  # only weights other than zero are stored
    LOW_RANK = "low rank"  # a layer is the product of smaller ones
    SMALLER = "smaller shapes"  # fewer rows, columns, units or layers
    RARE_SHARED = "shared rows of rare ids"  # ids that are read rarely share one row
    UNCOUNTED = "uncounted rows"  # how often a row is read is no longer known
    NO_NORMS = "no norms"  # BatchNorms are taken up by their neighbours
    OTHER_MODEL = "another model"
    INT8_PRODUCTS = "int8 products"  # which overflow on CPUs without VNNI, where predict.py takes exact ones
    BATCH_RANGES = "ranges of a batch"  # a row's score depends on the rows beside it
    # what waits for the next training, and ends with it
    LOSS = "a loss"
    MASKS = "masks"
    GROWING = "growing masks"  # masks that come while it runs, and the zeros with them
    BRANCHES = "branches"
    ROUNDING = "rounding"
    GATES = "gates"


# how the next training treats the weights of a layer: it can follow one of these, not two
TRAINING_FORMS = {
    Effect.MASKS: "holds single weights at zero",
    Effect.BRANCHES: "trains layers in parts",
    Effect.ROUNDING: "trains weights through their rounding",
    Effect.GATES: "puts gates before columns",
}
# what puts other layers in the place of those that a training form was meant for
REPLACING = (Effect.LOW_RANK, Effect.CODES, Effect.SPARSE, Effect.RARE_SHARED, Effect.UNCOUNTED)
# what makes a model score differently, by itself or while it trains
COMPRESSING = frozenset({Effect.ZEROS, Effect.CODES, Effect.SPARSE, Effect.LOW_RANK, Effect.SMALLER,
                         Effect.RARE_SHARED, Effect.OTHER_MODEL, Effect.GROWING})


@dataclass(frozen=True)
class Want:
    """A step is of use only after a step that made one of these effects in one of these parts, for this reason."""

    effects: frozenset[Effect]
    parts: Parts
    otherwise: str  # the sentence where none did


@dataclass(frozen=True)
class Effects:
    """What one method with its parameters makes, needs and undoes. Everything left out is nothing."""

    makes: Mapping[Effect, Parts] = field(default_factory=dict)
    undoes: Mapping[Effect, Parts] = field(default_factory=dict)  # what earlier steps made and this one destroys
    needs_float: Parts = NO_PARTS  # parts whose layers must hold float weights
    needs_counts: Parts = NO_PARTS  # parts of which has to be known how often rows are read
    clashes: Mapping[Effect, Severity] = field(default_factory=dict)  # what it does itself already
    wants: tuple[Want, ...] = ()
    needs_training: str = ""  # why a fine-tune step has to come after it, as a clause; Need.FINE_TUNE says so as well
    wants_training: str = ""  # why one should
    once: bool = False  # a recipe holds the method once


NO_EFFECTS = Effects()


def parts_of(weights: str) -> Parts:
    """The parts of a setting `weights`: dense, tables or both."""
    return {"dense": DENSE, "tables": TABLES, "both": ALL_PARTS}[weights]
