"""Ready recipes to start from, by goal and by what a model is made of, and the name a recipe gets by itself.

Loads without torch. A preset names no model: `suits` says from a description whether it is worth starting there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.spec.recipe import fine_tune_step, trains
from compression.spec.records import ModelDescription, Part, Recipe, Step

MAX_NAME_CHARS = 80

# What a new fine-tuning starts from. It repairs: its steps follow the scale of the tables as they are and fade out.
FINE_TUNING: dict[str, Any] = {"table_optimizer": "adam", "embedding_rate": "relative",
                               "embedding_learning_rate": 0.01, "schedule": "cosine"}


class Goal(StrEnum):
    """What a person wants most of the exported file."""

    LOSSLESS = "Nothing lost"
    SMALLEST = "Smallest file"
    CPU = "Fastest on CPU"
    GPU = "Fastest on GPU"


GOAL_WORDS = {
    Goal.LOSSLESS: "The scores stay as they are, or as near as a measurement can tell.",
    Goal.SMALLEST: "Bytes first: what loads, ships and is kept in memory.",
    Goal.CPU: "Milliseconds on a processor: fewer multiplications, in smaller numbers.",
    Goal.GPU: "Milliseconds on a graphics card: fewer and well-shaped products; 8-bit operators don't pay there.",
}

Suits = Callable[[ModelDescription], bool]


@dataclass(frozen=True)
class Preset:
    """A recipe with its goal, the reason to start from it, and the models that it suits."""

    key: str
    goal: Goal
    recipe: Recipe
    summary: str  # the reason
    when: str  # the models it suits, in words
    suits: Suits


def has_tables(description: ModelDescription) -> bool:
    """Tables of embeddings that carry most of the bytes."""
    return _part_bytes(description, Part.EMBEDDING) > description.size_bytes / 2


def has_dense(description: ModelDescription) -> bool:
    """Hidden layers wide enough to be quantised or narrowed."""
    return any(layer.part is Part.DENSE and len(layer.shape) == 2 and min(layer.shape) >= 16
               for layer in description.layers)


def is_deep(description: ModelDescription) -> bool:
    """Tables below hidden layers."""
    return has_dense(description) and any(layer.part is Part.EMBEDDING for layer in description.layers)


def is_shallow(description: ModelDescription) -> bool:
    """Tables and nothing above them: logistic regression, a factorisation machine."""
    return not has_dense(description) and any(layer.part is Part.EMBEDDING for layer in description.layers)


def is_factorised(description: ModelDescription) -> bool:
    """Rows of several numbers and nothing above them: a factorisation machine."""
    return is_shallow(description) and any(layer.part is Part.EMBEDDING and layer.shape[-1] > 1
                                           for layer in description.layers)


def is_dense_heavy(description: ModelDescription) -> bool:
    """Hidden layers that carry a good part of the bytes, as in models of numbers or with wide layers."""
    return has_dense(description) and not has_tables(description)


def has_batch_norm(description: ModelDescription) -> bool:
    """BatchNorm that a layer beside it could take in."""
    return has_dense(description) and any(layer.kind.startswith("BatchNorm") for layer in description.layers)


def has_work_for(*methods: str) -> Suits:
    """Whether every one of these methods finds something to do, as each says itself."""
    return lambda description: not any(METHODS[key].why_not(description) for key in methods)


def has_deep_tables(description: ModelDescription) -> bool:
    """Tables that carry most of the bytes, below hidden layers."""
    return is_deep(description) and has_tables(description)


def is_zoo(description: ModelDescription) -> bool:
    """A model whose student can be sized, as the method says itself; deep enough to have one."""
    return is_deep(description) and not METHODS["distill.logits"].why_not(description)


def _part_bytes(description: ModelDescription, part: Part) -> int:
    return sum(layer.size_bytes for layer in description.layers if layer.part is part)


def _preset(key: str, goal: Goal, suits: Suits, name: str, summary: str, when: str, *steps: tuple[str, dict]) -> Preset:
    recipe = Recipe(name=name, steps=tuple(Step(method=method, params=params) for method, params in steps))
    return Preset(key, goal, recipe, summary, when, suits)


def _tuned(epochs: int) -> tuple[str, dict]:
    """Trains on in steps that follow the scale of the weights and fade out."""
    step = fine_tune_step(epochs=epochs, **FINE_TUNING)
    return step.method, step.params


PRESETS: dict[str, Preset] = {preset.key: preset for preset in (
    _preset("int8", Goal.SMALLEST, is_deep, "int8 rows + int8 dense",
            "About a quarter of the bytes, and the safest start: no training, next to no loss.",
            "Any model of tables below hidden layers.",
            ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("int4", Goal.SMALLEST, is_deep, "int4 rows + int8 dense",
            "Half of that again: two ids' codes in a byte. Look at the interval before you ship it.",
            "Tables below hidden layers, where a file has to shrink and nobody can train.",
            ("embed.quantize_rows", {"n_bits": 4}), ("quantize.dynamic", {})),
    _preset("rare", Goal.SMALLEST, is_deep, "rare rows shared + int8",
            "Ids that training hardly saw share one row; what stays is stored in 8 bits.",
            "Many ids of which most are rare, as in logs of clicks.",
            ("embed.prune_rows", {"keep": 0.5}), ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("tiers", Goal.SMALLEST, is_deep, "bits by frequency + int8 dense",
            "Frequent ids keep 8 bits, rare ones get 2, 1 or none: two bits a weight on average.",
            "Large tables whose ids follow a power law.",
            ("embed.mixed_precision", {"bits": 2.0}), ("quantize.dynamic", {})),
    _preset("tiers_tuned", Goal.SMALLEST, is_deep, "fine-tune, then one bit a weight",
            "Fine-tuned first, so that what one bit a weight takes away starts from a better model.",
            "Large tables whose ids follow a power law, with time for a training.",
            _tuned(3), ("embed.mixed_precision", {"bits": 1.0}), ("quantize.dynamic", {})),
    _preset("nested", Goal.SMALLEST, has_deep_tables, "nested codes + int8 dense",
            "Frequent ids get several codes, rare ones few or none: most of what tables say in one bit a weight.",
            "Large tables whose ids follow a power law, as in logs of clicks; nobody has to train.",
            ("embed.nested_codes", {"bits": 1.0}), ("quantize.dynamic", {})),
    _preset("nested_tuned", Goal.SMALLEST, has_deep_tables, "0.4 bits of nested codes + fine-tune + int8 dense",
            "Less than half a bit a weight, then an epoch that moves the codebooks: the smallest tables here.",
            "Very large tables whose ids follow a power law, with time for a training.",
            ("embed.nested_codes", {"bits": 0.4}), _tuned(3), ("quantize.dynamic", {})),
    _preset("codebooks", Goal.SMALLEST, is_deep, "product codes + fine-tune + int8 dense",
            "A row becomes a few bytes that point into learned codebooks, which training then moves.",
            "Wide rows (16 columns and more) in tables of many rows.",
            ("embed.product_quantize", {"subspaces": 4}), _tuned(3), ("quantize.dynamic", {})),
    _preset("hashed", Goal.SMALLEST, is_deep, "hashed rows + fine-tune + int8 dense",
            "Ids share rows by arithmetic, so tables shrink tenfold and new ids cost nothing.",
            "Vocabularies that grow, or are too large for any table.",
            ("embed.hash", {"keep": 0.1}), _tuned(5), ("quantize.dynamic", {})),
    _preset("shallow_small", Goal.SMALLEST, is_shallow, "rare rows shared + int4 rows",
            "A model that is nothing but tables shrinks with them: rare ids share a row, the rest gets 4 bits.",
            "Logistic regression and factorisation machines.",
            ("embed.prune_rows", {"keep": 0.5}), ("embed.quantize_rows", {"n_bits": 4})),
    _preset("shallow_tiers", Goal.SMALLEST, is_factorised, "bits by frequency",
            "Two bits a weight on average, spent on the ids that requests ask for.",
            "Factorisation machines with many ids.",
            ("embed.mixed_precision", {"bits": 2.0})),
    _preset("dense_small", Goal.SMALLEST, is_dense_heavy, "low rank + int8 dense",
            "Wide layers become two thin ones of what training rows use, are trained on, then stored in 8 bits.",
            "Models whose bytes lie in hidden layers, with few or no tables.",
            ("factorize.activation_svd", {"rank_ratio": 0.25}), _tuned(5),
            ("quantize.dynamic", {})),
    _preset("dense_codes", Goal.SMALLEST, is_dense_heavy, "16 shared weights",
            "Four bits a weight into a codebook of sixteen, without training; memory and time stay.",
            "Models whose bytes lie in hidden layers, where the download counts.",
            ("share.kmeans", {"n_bits": 4})),
    _preset("dense_trained2", Goal.SMALLEST, is_dense_heavy, "2-bit dense, trained",
            "Weights of −1, 0 and 1 times a scale that training sets: at two bits rounding alone costs too much.",
            "Models whose bytes lie in hidden layers, with rows to train on.",
            ("quantize.train_dense", {"n_bits": 2, "block_size": 128}), _tuned(5)),
    _preset("dense_mixed", Goal.SMALLEST, is_dense_heavy, "dense bits by measured harm",
            "Each layer's harm at 8, 4 and 2 bits is measured on its own; bits go where they count.",
            "Models of several hidden layers, of which some bear less than others.",
            ("quantize.mixed", {"bits": 4.0, "narrowest": 2})),
    _preset("rows8", Goal.LOSSLESS, has_tables, "int8 rows",
            "Tables in 8 bits with a scale a row: a quarter of their bytes, scores that differ in the fifth digit.",
            "Any model whose bytes lie in tables.",
            ("embed.quantize_rows", {"n_bits": 8})),
    _preset("dense8", Goal.LOSSLESS, is_dense_heavy, "int8 dense",
            "Hidden layers in 8-bit integers, inputs scaled on every batch; the last layer stays in float.",
            "Models whose bytes lie in hidden layers, uploaded ones included.",
            ("quantize.dynamic", {})),
    _preset("folded", Goal.LOSSLESS, has_batch_norm, "folded BatchNorm",
            "Each BatchNorm goes into the layer beside it: fewer operators and bytes, the same scores.",
            "Models with BatchNorm, before anything else is done to them.",
            ("reparam.fold", {})),
    _preset("weights4", Goal.LOSSLESS, is_dense_heavy, "4-bit dense weights",
            "Weights alone in 4 bits by small blocks, multiplied as they are; inputs stay in float.",
            "Models whose bytes lie in hidden layers, on a processor.",
            ("quantize.weights", {"n_bits": 4})),
    _preset("static8", Goal.CPU, has_dense, "static int8 dense",
            "8-bit products without measuring the inputs on each request: ranges come from training rows.",
            "Wide hidden layers on a processor with 8-bit instructions.",
            ("quantize.static", {})),
    _preset("student", Goal.CPU, is_zoo, "student + int8",
            "A smaller network learns from the large one, then is quantised: the way to fewer milliseconds.",
            "A deep model trained here or uploaded with its configuration.",
            ("distill.logits", {"width_ratio": 0.5}), _tuned(10),
            ("embed.quantize_rows", {"n_bits": 8}), ("quantize.dynamic", {})),
    _preset("channels", Goal.CPU, has_dense, "fewer units + fine-tune",
            "Hidden units that matter least are really removed, and the rest trained on.",
            "Any model with wide hidden layers, uploaded ones included.",
            ("prune.channels", {"ratio": 0.5}), _tuned(5)),
    _preset("heads", Goal.CPU, has_work_for("prune.heads"), "fewer heads and units + fine-tune",
            "Half of the heads of attention and of the units behind them leave for good; the rest is trained on.",
            "Transformers that came as weights: self-attentive histories, cross-encoders.",
            ("prune.heads", {"ratio": 0.5}), ("prune.channels", {"ratio": 0.5}), _tuned(5)),
    _preset("hints", Goal.CPU, is_deep, "fewer units by hints + int8 dense",
            "Hidden units are removed, and those left learn from the hidden layers of the model as it was.",
            "Tables below wide hidden layers, with rows to train on.",
            ("prune.channels", {"ratio": 0.7}), ("distill.features", {}), _tuned(5),
            ("quantize.dynamic", {})),
    _preset("crosses", Goal.CPU, has_work_for("factorize.cross"), "low-rank crosses + int8 dense",
            "Cross layers become thin factors, as DCN v2 means them to be, and what is left is stored in 8 bits.",
            "DCN v2 and other models with cross layers.",
            ("factorize.cross", {"rank_ratio": 0.25, "n_experts": 1}), ("quantize.dynamic", {})),
    _preset("low_rank", Goal.CPU, has_dense, "low rank",
            "Tables and dense layers become products of two thin matrices; fine-tuning wins back what was lost.",
            "Wide hidden layers whose singular values fall fast.",
            ("factorize.svd", {"rank_ratio": 0.5}), _tuned(5)),
    _preset("channels_gpu", Goal.GPU, has_dense, "fewer units in eights + fine-tune",
            "Widths stay multiples of 8, which tensor cores want; nothing is converted on the way.",
            "Any model with wide hidden layers.",
            ("prune.channels", {"ratio": 0.5, "round_to": 8}), _tuned(5)),
    _preset("heads_gpu", Goal.GPU, has_work_for("prune.heads"), "fewer heads, units in eights + fine-tune",
            "Attention with half of its heads is ordinary attention, and feed-forward widths stay multiples of 8.",
            "Transformers that came as weights, on a graphics card.",
            ("prune.heads", {"ratio": 0.5}), ("prune.channels", {"ratio": 0.5, "round_to": 8}),
            _tuned(5)),
    _preset("student_gpu", Goal.GPU, is_zoo, "student in float",
            "Half the width at the teacher's knowledge, in plain float operators that run on the card throughout.",
            "A deep model trained here or uploaded with its configuration.",
            ("distill.logits", {"width_ratio": 0.5}), _tuned(10)),
)}


def presets_for(description: ModelDescription | None, goal: Goal | None = None) -> list[Preset]:
    """The presets of a goal that suit a model; without a model all of the goal, without a goal of every one."""
    return [one for one in PRESETS.values()
            if goal in (None, one.goal) and (description is None or one.suits(description))]


def new_step(method: str) -> Step:
    """A step as somebody adds it to a recipe: of defaults, and one that trains with the settings of a fine-tuning."""
    return fine_tune_step(**FINE_TUNING) if METHODS[method].trains else Step(method=method)


def step_name(step: Step) -> str:
    """A step in two or three words, as its method says them; of a step that can't be read, its key."""
    try:
        return METHODS[step.method].short_name(step.params)
    except (KeyError, RecipeError):
        return step.method.split(".")[-1].replace("_", " ")


def recipe_name(steps: Sequence[Step]) -> str:
    """What the steps do, joined by plus; fine-tuning is named only where nothing else is."""
    if not steps:
        return "baseline"
    named = [step_name(step) for step in steps if not trains(step)] or [step_name(steps[0])]
    name = " + ".join(named)
    return name if len(name) <= MAX_NAME_CHARS else name[:MAX_NAME_CHARS - 1] + "…"
