"""The goals on the generated log of 2 million rows: how much smaller, at how little AUC, with how much training.

Each goal names the recipes that were tried for it; the whole exported file counts. A goal is reached by the estimate
where the mean difference over the seeds keeps it, and by the interval where its lower end does too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.catalogue.points import Job
from benchmarks.catalogue.references import SOURCES
from compression.spec.method import METHODS
from compression.spec.recipe import fine_tune_step, trains
from compression.spec.records import Recipe, Step

NOTE = """\
The whole exported file counts, graph and dense layers included; the difference is the mean over the seeds tried, and
its 95 % interval counts rows and seeds. *By the estimate*: the mean keeps the goal. *By the interval*: its lower end
does too.

What decides it is which rows keep their bytes. The long table is that of the users, most of whom occur once or twice;
its rare rows can share one row at next to no loss, and an epoch afterwards can even gain, as rare rows had learned
noise. Items are few and read often: methods that cut every table by the same share (*a tenth of the rows*, hashing)
lose there. Row pruning finds the cut when `min_rows` leaves the items out; `embed.nested_codes` finds it by itself,
because its bytes go where they take most off the squared error of the logit.
"""
SEEDS = (0, 1, 2)
SERIES = "goal"
Steps = tuple[tuple[str, dict], ...]
INT8: Steps = (("quantize.dynamic", {}),)
INT8_ROWS: Steps = (("embed.quantize_rows", {"n_bits": 8}),)
INT4_ROWS: Steps = (("embed.quantize_rows", {"n_bits": 4}),)
EPOCH = fine_tune_step(**SOURCES["log"].fine_tune)
TUNE: Steps = ((EPOCH.method, EPOCH.params),)


@dataclass(frozen=True)
class Goal:
    """At least `ratio` times fewer bytes at no more than `loss` AUC, with at most so many epochs of training."""

    key: str
    ratio: float
    loss: float
    epochs: int
    recipes: tuple[tuple[str, Steps], ...]

    @property
    def text(self) -> str:
        training = ("without fine-tuning", "with at most one epoch of fine-tuning")[self.epochs]
        return f"At least {self.ratio:g} times smaller at no more than {self.loss:g} AUC lost, {training}"


def users(keep: float) -> Steps:
    """Row pruning of the one table that is long; the 10,001 items keep their rows."""
    return (("embed.prune_rows", {"keep": keep, "min_rows": 20_000}),)


def nested(bits: float) -> Steps:
    return (("embed.nested_codes", {"bits": bits}),)


GOALS: tuple[Goal, ...] = (
    Goal("8x", 8, 0.0002, 0, (
        ("mixed precision 3.5 bits + int8", (("embed.mixed_precision", {"bits": 3.5}), *INT8_ROWS, *INT8)),
        ("product quantisation 4 + int8", (("embed.product_quantize", {"subspaces": 4}), *INT8)),
        ("int4 rows + int8", (*INT4_ROWS, *INT8)),
        ("half of the users' rows + int4 rows + int8", (*users(0.5), *INT4_ROWS, *INT8)),
        ("nested codes 2 bits + int8", (*nested(2.0), *INT8)),
        ("nested codes 1 bit + int8", (*nested(1.0), *INT8)),
    )),
    Goal("16x", 16, 0.0005, 1, (
        ("product quantisation 2 + epoch + int8", (("embed.product_quantize", {"subspaces": 2}), *TUNE, *INT8)),
        ("half of the rows + epoch + product quantisation 4 + int8",
         (("embed.prune_rows", {"keep": 0.5}), *TUNE, ("embed.product_quantize", {"subspaces": 4}), *INT8)),
        ("30 % of the users' rows + int4 rows + int8", (*users(0.3), *INT4_ROWS, *INT8)),
        ("nested codes 1 bit + epoch + int8", (*nested(1.0), *TUNE, *INT8)),
        ("nested codes 0.8 bits + int8", (*nested(0.8), *INT8)),
    )),
    Goal("50x", 50, 0.002, 1, (
        ("a tenth of the rows + epoch + int4 rows + int8",
         (("embed.prune_rows", {"keep": 0.1}), *TUNE, *INT4_ROWS, *INT8)),
        ("5 % of the users' rows + int4 rows + int8", (*users(0.05), *INT4_ROWS, *INT8)),
        ("5 % of the users' rows + epoch + int4 rows + int8", (*users(0.05), *TUNE, *INT4_ROWS, *INT8)),
        ("1 % of hashed rows + epoch + int8",
         (("embed.hash", {"kind": "double-hash", "keep": 0.01}), *TUNE, *INT8_ROWS, *INT8)),
        ("nested codes 0.4 bits + int8", (*nested(0.4), *INT8)),
        ("nested codes 0.4 bits + epoch + int8", (*nested(0.4), *TUNE, *INT8)),
        ("nested codes 0.3 bits + int8", (*nested(0.3), *INT8)),
        ("nested codes 0.3 bits + k-means 4 bits", (*nested(0.3), ("share.kmeans", {"n_bits": 4}))),
    )),
)


def goal_jobs() -> Iterator[Job]:
    """Every recipe of every goal with every seed."""
    for goal in GOALS:
        for name, steps in goal.recipes:
            if any(method not in METHODS for method, _ in steps):
                continue
            for seed in SEEDS:
                recipe = Recipe(name=name[:80], seed=seed,
                                steps=tuple(Step(method=method, params=params) for method, params in steps))
                yield Job(dataset="log", seed=seed, series=name, on=SERIES, method=SERIES, setting=goal.key,
                          tuned=any(map(trains, recipe.steps)), recipe=recipe)
