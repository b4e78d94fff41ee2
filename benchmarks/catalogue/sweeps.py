"""Which settings of which method are tried: one table, a line or two for each method of the catalogue.

A sweep is a method with the settings it is run at, over at least five ratios where it has one. `tuned` says whether an
epoch of fine-tuning follows: never (there is nothing to win back), both (shown without and with), always (the method
works during training). `on` says what it makes smaller: the tables, the dense layers, or both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

TABLES, DENSE, BOTH = "tables", "dense", "both"
Settings = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A method and the settings it is run at; `kind` names a variant, `before` and `after` are steps around it."""

    method: str
    on: Literal["tables", "dense", "both"]
    settings: tuple[Settings, ...] = ({},)
    tuned: Literal["never", "both", "always"] = "never"
    kind: str = ""
    before: tuple[tuple[str, Settings], ...] = ()
    after: tuple[tuple[str, Settings], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method}, {self.kind}" if self.kind else self.method


def over(name: str, *values: object, **fixed: object) -> tuple[Settings, ...]:
    """The settings that differ in one parameter."""
    return tuple({**fixed, name: value} for value in values)


SWEEPS: tuple[Sweep, ...] = (
    Sweep("embed.quantize_rows", TABLES, over("n_bits", 8, 4, 2), kind="scale a row"),
    Sweep("embed.quantize_rows", TABLES, over("n_bits", 8, 4, 2, granularity="field"), kind="scale a table"),
    Sweep("embed.mixed_precision", TABLES, over("bits", 6.0, 4.0, 3.0, 2.0, 1.5, 1.0)),
    Sweep("embed.product_quantize", TABLES, over("subspaces", 16, 8, 4, 2, 1), kind="256 centroids"),
    Sweep("embed.product_quantize", TABLES, over("subspaces", 16, 8, 4, 2, 1, centroids=32), tuned="both",
          kind="32 centroids"),
    Sweep("embed.prune_rows", TABLES, over("keep", 0.7, 0.5, 0.3, 0.1, 0.05), tuned="both"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="modulo"), tuned="both", kind="modulo"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="quotient-remainder"), tuned="both",
          kind="quotient-remainder"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="double-hash"), tuned="both",
          kind="double-hash"),
    Sweep("embed.reduce_dim", TABLES, over("ratio", 0.75, 0.5, 0.25, 0.12, 0.06, alpha=0.0), tuned="both",
          kind="the same everywhere"),
    Sweep("embed.reduce_dim", TABLES, over("ratio", 1.0, 0.75, 0.5, 0.25, 0.12), tuned="both", kind="by rows"),
    Sweep("factorize.svd", TABLES, over("rank_ratio", 0.75, 0.5, 0.25, 0.12, 0.06), tuned="both", kind="tables"),
    Sweep("factorize.svd", DENSE, over("rank_ratio", 0.5, 0.4, 0.25, 0.12, 0.06, weights="dense"), tuned="both",
          kind="dense"),
    Sweep("prune.magnitude", DENSE, over("sparsity", 0.5, 0.7, 0.8, 0.9, 0.95), tuned="both"),
    Sweep("prune.channels", DENSE, over("ratio", 0.25, 0.5, 0.7, 0.8, 0.9), tuned="both"),
    Sweep("quantize.dynamic", DENSE, over("n_bits", 8, 7)),
    Sweep("quantize.static", DENSE, over("calibrator", "minmax", "percentile", "mse")),
    Sweep("share.kmeans", DENSE, over("n_bits", 8, 4, 2), tuned="both"),
    Sweep("distill.logits", BOTH, over("width_ratio", 0.5, 0.25, 0.1), tuned="always", kind="fewer units"),
    Sweep("distill.logits", BOTH, tuple({"width_ratio": ratio, "embedding_ratio": ratio}
                                        for ratio in (0.75, 0.5, 0.25, 0.15, 0.05)), tuned="always", kind="smaller"),
    Sweep("train.fine_tune", BOTH, tuned="always"),
)
