"""Rules of order that several methods share: what has to come before what in a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Problem
from compression.spec.records import Part, Step

TABLE_CODES = ("embed.quantize_rows", "embed.train_quantized", "embed.mixed_precision", "embed.product_quantize",
               "embed.nested_codes")
# they make layers smaller and hold no zeros
RESHAPING = ("prune.channels", "prune.fields", "prune.heads", "prune.layers")


def needs_float(title: str, index: int, steps: tuple[Step, ...], *, dense: bool, tables: bool) -> Iterator[Problem]:
    """An error for each kind of weights that a step needs in float and an earlier step has quantised."""
    for has_codes, what, asked in ((_dense_in_codes, "dense layers", dense), (_tables_in_codes, "tables", tables)):
        earlier = [place for place, step in enumerate(steps[:index]) if has_codes(step)]
        if asked and earlier:
            yield Problem(index, "error", f"{title} needs float weights, and step {earlier[0] + 1} has quantised the "
                                          f"{what}; move {title[0].lower() + title[1:]} before it.")


def holding_zeros(index: int, steps: tuple[Step, ...]) -> list[int]:
    """Places of the steps that hold single dense weights at zero during the same fine-tuning as the step at `index`."""
    return [place for place in _same_training(index, steps)
            if steps[place].method.startswith("prune.") and steps[place].method not in RESHAPING
            and steps[place].params.get("weights") != "tables"]


def trains_alone(title: str, index: int, steps: tuple[Step, ...]) -> Iterator[Problem]:
    """An error where an earlier step would change the same weights in another way during the same fine-tuning."""
    expanded = [place for place in _same_training(index, steps) if steps[place].method == "reparam.overparameterize"]
    for places, what in ((holding_zeros(index, steps), "holds single weights at zero"),
                         (expanded, "trains dense layers in parts")):
        earlier = [place for place in places if place < index]
        if earlier:
            yield Problem(index, "error", f"Step {earlier[0] + 1} {what}, and {title[0].lower() + title[1:]} "
                                          "would train other weights in their place; put a fine-tune step between "
                                          "the two.")


def _same_training(index: int, steps: tuple[Step, ...]) -> range:
    """Places of the steps between the fine-tuning before `index` and the one after it."""
    trainings = [place for place, step in enumerate(steps) if step.method == "train.fine_tune"]
    start = max((place for place in trainings if place < index), default=-1)
    return range(start + 1, min((place for place in trainings if place > index), default=len(steps)))


def _dense_in_codes(step: Step) -> bool:
    """Whether dense layers hold codes after the step, by its own settings."""
    if step.method.startswith("share."):
        return True
    chosen = METHODS.get(step.method)
    try:
        return chosen is not None and Part.DENSE in chosen.frozen_parts(chosen.parse(step.params))
    except RecipeError:  # said at the step itself
        return False


def _tables_in_codes(step: Step) -> bool:
    on_tables = step.method == "quantize.half" and step.params.get("weights", "both") != "dense"
    return on_tables or step.method.startswith(TABLE_CODES)
