"""Which settings of which method are tried: one table, a line or two for each method of the catalogue.

A sweep is a method with the settings it is run at, over at least five ratios. Where there are fewer by nature all of
them are run: bits that codes can have, forms of half precision, hidden layers that can go, the one way to fold; a dense
method of one ratio runs once more behind channel pruning at five. `tuned` says whether an epoch of training is in it:
never (there is nothing to win back), both (shown without and with), always (the method works during training). `on`
says what it makes smaller: the tables, the dense layers, or both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

TABLES, DENSE, BOTH = "tables", "dense", "both"
Settings = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A method and the settings it is run at; `kind` names a variant, `after` are steps behind it."""

    method: str
    on: Literal["tables", "dense", "both"]
    settings: tuple[Settings, ...] = ({},)
    tuned: Literal["never", "both", "always"] = "never"
    kind: str = ""
    shrinks: str = ""  # the method that the settings belong to, where this one helps it through training or follows it
    last: bool = False  # whether the epoch comes before the method, as what it leaves can't be trained
    fixed: Settings = field(default_factory=dict)  # the settings of a method that helps
    after: tuple[tuple[str, Settings], ...] = ()
    control: bool = False  # a method that others have to beat
    only: str = ""  # the one dataset it has something to do on

    def steps(self, settings: Settings) -> list[tuple[str, Settings]]:
        """Method and settings of each step before training."""
        return [(self.shrinks, settings), (self.method, self.fixed)] if self.shrinks else [(self.method, settings)]

    @property
    def name(self) -> str:
        return f"{self.method}, {self.kind}" if self.kind else self.method


def over(name: str, *values: object, **fixed: object) -> tuple[Settings, ...]:
    """The settings that differ in one parameter."""
    return tuple({**fixed, name: value} for value in values)


SPARSE = (("prune.store_sparse", {}),)  # zeros alone save nothing
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
CHANNELS = over("ratio", 0.25, 0.5, 0.7, 0.8, 0.9)
HEADS = over("ratio", 0.12, 0.25, 0.5, 0.75, 0.85)  # one head of eight goes, and so on; one stays
CROSS_LAYERS = tuple({"n_hidden": hidden, "n_cross": cross}
                     for hidden, cross in ((0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
CONVOLUTIONS = (*over("multiplier", 4, 2, 1), *over("squeeze_ratio", 0.5, 0.25, form="squeeze"))

SWEEPS: tuple[Sweep, ...] = (
    Sweep("embed.quantize_rows", TABLES, over("n_bits", 8, 4, 2, 1), kind="scale a row"),
    Sweep("embed.quantize_rows", TABLES, over("n_bits", 8, 4, 2, 1, granularity="field"), kind="scale a table"),
    Sweep("embed.mixed_precision", TABLES, over("bits", 6.0, 4.0, 3.0, 2.0, 1.5, 1.0)),
    Sweep("embed.product_quantize", TABLES, over("subspaces", 16, 8, 4, 2, 1), kind="256 centroids"),
    Sweep("embed.product_quantize", TABLES, over("subspaces", 16, 8, 4, 2, 1, centroids=32), tuned="both",
          kind="32 centroids"),
    Sweep("embed.prune_rows", TABLES, over("keep", 0.7, 0.5, 0.3, 0.1, 0.05), tuned="both"),
    Sweep("embed.prune_rows", TABLES, over("keep", 0.7, 0.5, 0.3, 0.1, 0.05, by="norm"), tuned="both", kind="by norm"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="modulo"), tuned="both", kind="modulo"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="quotient-remainder"), tuned="both",
          kind="quotient-remainder"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="double-hash"), tuned="both",
          kind="double-hash"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="memcom"), tuned="both", kind="memcom"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="memcom-bias"), tuned="both",
          kind="memcom-bias"),
    Sweep("embed.hash", TABLES, over("keep", 0.5, 0.3, 0.2, 0.1, 0.05, kind="robe"), tuned="both", kind="robe"),
    Sweep("embed.reduce_dim", TABLES, over("ratio", 0.75, 0.5, 0.25, 0.12, 0.06, alpha=0.0), tuned="both",
          kind="the same everywhere"),
    Sweep("embed.reduce_dim", TABLES, over("ratio", 1.0, 0.75, 0.5, 0.25, 0.12), tuned="both", kind="by rows"),
    Sweep("factorize.svd", TABLES, over("rank_ratio", 0.75, 0.5, 0.25, 0.12, 0.06), tuned="both", kind="tables"),
    Sweep("factorize.svd", DENSE, over("rank_ratio", 0.5, 0.4, 0.25, 0.12, 0.06, weights="dense"), tuned="both",
          kind="dense"),
    Sweep("factorize.tensor_train", TABLES, over("rank", 12, 8, 4, 2, 1), tuned="both", kind="3 cores"),
    Sweep("factorize.tensor_train", TABLES, over("rank", 12, 8, 4, 2, 1, n_cores=2), tuned="both", kind="2 cores"),
    Sweep("embed.nested_codes", TABLES, over("bits", 4.0, 3.0, 2.0, 1.0, 0.5, 0.3), tuned="both"),
    Sweep("embed.train_quantized", TABLES, over("n_bits", 8, 4, 2, 1), tuned="always"),
    Sweep("embed.learn_dims", TABLES, over("price", 0.001, 0.003, 0.01, 0.03, 0.1), tuned="always"),
    Sweep("factorize.activation_svd", DENSE, over("rank_ratio", 0.5, 0.4, 0.25, 0.12, 0.06), tuned="both"),
    Sweep("prune.random", DENSE, over("sparsity", *SPARSITIES), tuned="both", after=SPARSE, control=True),
    Sweep("prune.magnitude", DENSE, over("sparsity", *SPARSITIES), tuned="both", after=SPARSE, control=True,
          kind="dense"),
    Sweep("prune.magnitude", TABLES, over("sparsity", *SPARSITIES, weights="tables"), tuned="both", after=SPARSE,
          control=True, kind="tables"),
    Sweep("prune.taylor", DENSE, over("sparsity", *SPARSITIES), tuned="both", after=SPARSE),
    Sweep("prune.movement", DENSE, over("sparsity", *SPARSITIES), tuned="always", after=SPARSE),
    Sweep("prune.iterative", DENSE, over("sparsity", *SPARSITIES), tuned="always", after=SPARSE),
    Sweep("prune.l1", DENSE, over("strength", 0.3, 1.0, 2.0, 5.0, 10.0), tuned="always", after=SPARSE),
    Sweep("prune.n_of_m", DENSE, over("pattern", "1:2", "2:4", "4:8", "1:4", "2:8", "1:8"), tuned="both", after=SPARSE),
    Sweep("prune.store_sparse", BOTH, over("below", 0.0, 0.05, 0.1, 0.2, 0.4)),
    Sweep("prune.fields", BOTH, over("n_fields", 1, 2, 3, 4, 5), tuned="both"),
    Sweep("prune.channels", DENSE, over("ratio", 0.25, 0.5, 0.7, 0.8, 0.9), tuned="both"),
    Sweep("prune.heads", DENSE, HEADS, tuned="both", only="attention"),
    Sweep("prune.heads", DENSE, tuple({**one, "criterion": "norm"} for one in HEADS), tuned="both", only="attention",
          kind="by norm"),
    Sweep("prune.layers", DENSE, over("n_hidden", 1, 2), tuned="both"),
    Sweep("prune.layers", DENSE, CROSS_LAYERS, tuned="both", only="crosses", kind="cross layers too"),
    Sweep("quantize.dynamic", DENSE, over("n_bits", 8, 7)),
    Sweep("quantize.dynamic", DENSE, CHANNELS, shrinks="prune.channels", last=True, tuned="both",
          kind="fewer channels"),
    Sweep("quantize.static", DENSE, over("calibrator", "minmax", "percentile", "mse", "entropy")),
    Sweep("quantize.static", DENSE, CHANNELS, shrinks="prune.channels", last=True, tuned="both",
          kind="fewer channels"),
    Sweep("quantize.weights", DENSE, tuple({"n_bits": bits, "block_size": size} for bits, size in
                                           ((8, 32), (8, 128), (4, 16), (4, 32), (4, 128)))),
    Sweep("quantize.train_dense", DENSE, ({"n_bits": 8}, *({"n_bits": bits, "block_size": size} for bits, size in
                                                           ((4, 32), (4, 128), (2, 32), (2, 128)))), tuned="always"),
    Sweep("quantize.mixed", DENSE, over("bits", 16.0, 10.0, 7.0, 5.0, 4.0, 3.0, narrowest=2)),
    Sweep("quantize.binary", DENSE, tuned="both"),
    Sweep("quantize.binary", DENSE, CHANNELS, shrinks="prune.channels", tuned="always", kind="fewer channels"),
    Sweep("quantize.half", TABLES, over("form", "bf16", "fp16", "fp8", weights="tables"), kind="tables"),
    Sweep("quantize.half", DENSE, over("form", "bf16", "fp16", "fp8", weights="dense"), kind="dense"),
    Sweep("quantize.half_products", DENSE),
    Sweep("quantize.half_products", DENSE, CHANNELS, shrinks="prune.channels", last=True, tuned="both",
          kind="fewer channels"),
    Sweep("share.kmeans", DENSE, over("n_bits", 8, 4, 2), tuned="both"),
    Sweep("share.kmeans", DENSE, CHANNELS, shrinks="prune.channels", tuned="always", kind="fewer channels"),
    Sweep("distill.logits", BOTH, over("width_ratio", 0.5, 0.25, 0.1), tuned="always", kind="fewer units"),
    Sweep("distill.logits", BOTH, tuple({"width_ratio": ratio, "embedding_ratio": ratio}
                                        for ratio in (0.75, 0.5, 0.25, 0.15, 0.05)), tuned="always", kind="smaller"),
    Sweep("distill.self", DENSE, CHANNELS, shrinks="prune.channels", tuned="always"),
    Sweep("distill.features", DENSE, CHANNELS, shrinks="prune.channels", tuned="always"),
    Sweep("distill.ranking", DENSE, CHANNELS, shrinks="prune.channels", tuned="always"),
    Sweep("distill.ensemble", DENSE, CHANNELS, shrinks="prune.channels", tuned="always",
          fixed={"n_teachers": 2, "epochs": 3}),
    Sweep("reparam.overparameterize", DENSE, CHANNELS, shrinks="prune.channels", tuned="always"),
    Sweep("train.fine_tune", DENSE, CHANNELS, shrinks="prune.channels", tuned="always", control=True),
    Sweep("factorize.cross", DENSE, over("rank_ratio", 0.5, 0.25, 0.12, 0.06, 0.02), tuned="both", only="crosses"),
    Sweep("reparam.fold", DENSE),
    Sweep("reparam.fold", DENSE, after=(("quantize.dynamic", {}),), kind="before int8"),
    Sweep("reparam.depthwise", DENSE, CONVOLUTIONS, tuned="both", only="convolutions"),
)
