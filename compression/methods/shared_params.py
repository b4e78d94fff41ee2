"""Settings that several methods have, each declared once: they stand behind a method's own.

    class ShareParams(DenseLayers): ...
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compression.spec.digests import LATER
from compression.spec.method import Params, SharedParams


class LargeTables(Params, SharedParams):
    """From which size on a table takes part."""

    min_rows: int = Field(100, ge=2, le=1_000_000, description="Tables with fewer rows than this stay whole.")


class LargeFloatTables(Params, SharedParams):
    """From which size on a table becomes codes."""

    min_rows: int = Field(100, ge=2, le=1_000_000, description="Tables with fewer rows than this stay in float.")


class WideLayers(Params, SharedParams):
    """From which width on a dense layer becomes codes."""

    min_features: int = Field(16, ge=1, le=4096, description="Layers narrower than this stay in float.")


class DenseLayers(WideLayers, SharedParams):
    """Which dense layers become codes."""

    skip_output: bool = Field(True, description="Leave the last layer, whose error goes straight into the score.")


class Int8Weights(Params, SharedParams):
    """How wide the weights of an 8-bit product are."""

    n_bits: Literal[8, 7] = Field(
        8, description="Bits of a weight. 7 are stored in 8, for CPUs without VNNI, where 8 can overflow.")


class FloatLayers(Params, SharedParams):
    """How many of the layers stay in float because the scores miss them most."""

    keep_float: Annotated[float, LATER] = Field(
        0.0, ge=0, le=0.9, multiple_of=0.05,
        description="Share of these layers that stay in float: those that alone change scores most, measured on "
                    "training rows.")


class ValidationRows(Params, SharedParams):
    """How many rows judge."""

    max_rows: int = Field(20_000, ge=100, le=1_000_000, description="Validation rows used, drawn at random.")


class SoftScores(Params, SharedParams):
    """How scores of a teacher are compared."""

    temperature: float = Field(2.0, ge=1, le=20, multiple_of=0.5,
                               description="Softens both scores before they are compared.")
    schedule: Annotated[Literal["constant", "fading", "cooling"], LATER] = Field(
        "constant", description="Over the training: constant; fading, the teacher's share of the loss falls to none; "
                                "cooling, the temperature falls to 1.")
