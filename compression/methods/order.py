"""Rules of order that several methods share: what has to come before what in a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from compression.method import Problem
from compression.records import Step


def needs_float(title: str, index: int, steps: tuple[Step, ...], *, dense: bool, tables: bool) -> Iterator[Problem]:
    """An error for each kind of weights that a step needs in float and an earlier step has quantised."""
    wanted = [(("quantize.", "share."), "dense layers", dense),
              (("embed.quantize_rows", "embed.train_quantized", "embed.mixed_precision", "embed.product_quantize",
                "embed.nested_codes"), "tables", tables)]
    for prefixes, what, asked in wanted:
        earlier = [place for place, step in enumerate(steps[:index]) if step.method.startswith(prefixes)]
        if asked and earlier:
            yield Problem(index, "error", f"{title} needs float weights, and step {earlier[0] + 1} has quantised the "
                                          f"{what}; move {title[0].lower() + title[1:]} before it.")
