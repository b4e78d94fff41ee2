"""Ready recipes to start from, and the name a recipe gets when nobody gives one. Loads without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compression.errors import RecipeError
from compression.method import METHODS
from compression.records import Recipe, Step

MAX_NAME_CHARS = 80


@dataclass(frozen=True)
class Preset:
    """A recipe with the reason to start from it."""

    key: str
    recipe: Recipe
    summary: str


def _preset(key: str, name: str, summary: str, *steps: tuple[str, dict]) -> Preset:
    return Preset(key, Recipe(name=name, steps=tuple(Step(method=method, params=params) for method, params in steps)),
                  summary)


PRESETS: dict[str, Preset] = {preset.key: preset for preset in (
    _preset("int8", "int8 rows + int8 dense",
            "About a quarter of the bytes, and the safest start: no training, next to no loss.",
            ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("int4", "int4 rows + int8 dense",
            "Half of that again: two ids' codes in a byte. Look at the interval before you ship it.",
            ("embed.quantize_rows", {"n_bits": 4}), ("quantize.dynamic", {})),
    _preset("rare", "rare rows shared + int8",
            "Ids that training hardly saw share one row; what stays is stored in 8 bits.",
            ("embed.prune_rows", {"keep": 0.5}), ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("student", "student + int8",
            "A smaller network learns from the large one, then is quantised: the way to fewer milliseconds.",
            ("distill.logits", {"width_ratio": 0.5}), ("train.fine_tune", {"epochs": 10}),
            ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("channels", "fewer units + fine-tune",
            "Hidden units that matter least are really removed, and the rest trained on.",
            ("prune.channels", {"ratio": 0.5}), ("train.fine_tune", {"epochs": 5})),
    _preset("low_rank", "low rank",
            "Tables and dense layers become products of two thin matrices; fine-tuning wins back what was lost.",
            ("factorize.svd", {"rank_ratio": 0.5}), ("train.fine_tune", {"epochs": 5})),
)}


def step_name(step: Step) -> str:
    """A step in two or three words, as its method says them; of a step that can't be read, its key."""
    import compression.methods  # noqa: F401  (fills METHODS)

    try:
        return METHODS[step.method].short_name(step.params)
    except (KeyError, RecipeError):
        return step.method.split(".")[-1].replace("_", " ")


def recipe_name(steps: Sequence[Step]) -> str:
    """What the steps do, joined by plus; fine-tuning is named only where nothing else is."""
    if not steps:
        return "baseline"
    named = [step_name(step) for step in steps if step.method != "train.fine_tune"] or ["fine-tune"]
    name = " + ".join(named)
    return name if len(name) <= MAX_NAME_CHARS else name[:MAX_NAME_CHARS - 1] + "…"
