"""What a recogniser gives: a foreign architecture, its settings, inputs and weights, and what it could not tell."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, zeros

from compression.importers.checkpoint.skeleton import Leaf
from compression.spec.errors import ModelError
from compression.spec.records import Question


@dataclass(frozen=True)
class Field:
    """An input the weights ask for. `rows` of its table; `length` of a list that is fixed."""

    name: str
    kind: Literal["category", "multi", "number"] = "category"
    rows: int | None = None
    length: int | None = None


@dataclass
class Recognised:
    """`config` has every setting that is known or guessed; the key of a question is the path of a setting in it."""

    architecture: str
    title: str
    config: dict[str, Any]
    fields: tuple[Field, ...]
    weights: dict[str, Tensor]
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()
    layer_weights: Tensor | None = None  # (K + 1,): what each layer of an interaction graph counts for


class Untold(ModelError):
    """What has to be known before anything can be read; `questions` ask for it."""

    def __init__(self, message: str, questions: tuple[Question, ...]) -> None:
        super().__init__(message)
        self.questions = questions


OUTPUT_FORM = Question(
    key="output_form", choices=("logit", "probability", "rating"), answer="logit",
    text="What is the model's last number: a logit (the loss applies the sigmoid), a probability (the model ends in a "
         "sigmoid), or a rating (no sigmoid)?")


class Settings:
    """What is known besides the weights: answers of the person first, then what came in the upload."""

    def __init__(self, answers: dict[str, Any], came: dict[str, Any] | None = None) -> None:
        self.answers, self.came = answers, came or {}

    def get(self, key: str, guess: Any = None) -> Any:
        return self.answers.get(key, self.came.get(key, guess))

    def decided(self, key: str) -> str | None:
        """Who said it: "answer", "file", or None."""
        return "answer" if key in self.answers else "file" if key in self.came else None


MAX_LOG_SCALE = 9.0  # of logit_scale, whose exponential multiplies, as CLIP has it
ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu", "elu", "silu", "none")


def chain_parts(prefix: str, linears: list[Leaf], norms: list[Leaf], settings: Settings, *, followed: bool,
                last: str = "activated") -> tuple[dict[str, Any], dict[str, Tensor], list[Question]] | None:
    """Settings, weights and questions of a chain of dense layers; None where its norms don't fit between them.

    `followed`: something reads the chain, so that an activation may stand after its last layer; `last` is the guess.
    """
    widths = [leaf.n_out for leaf in linears]
    config: dict[str, Any] = {"widths": widths, "activation": "relu", "last": "plain", "batch_norm": "none",
                              "bias": any("bias" in leaf.tensors for leaf in linears),
                              "dropout": settings.get("dropout", 0.0)}
    if len(norms) not in (0, len(widths) - 1, len(widths)) or any(
            norm.n_out != width for norm, width in zip(norms, widths, strict=False)):
        return None
    asked = []
    if len(widths) > 1 or followed:
        asked.append(Question(key=f"{prefix}.activation", choices=ACTIVATIONS, answer="relu",
                              text=f"Which activation stands between the layers of {_range(linears)}?"))
    if norms:
        place = _norm_place(linears, norms)
        config |= {"batch_norm": place or "before"}
        if place is None:
            asked.append(Question(key=f"{prefix}.batch_norm", choices=("before", "after"), answer="before",
                                  text="Does batch normalisation stand before or after the activation?"))
    if norms and len(norms) == len(widths):
        config["last"] = "activated"
    elif followed and not norms:
        config["last"] = last
        asked.append(Question(key=f"{prefix}.last", choices=("activated", "plain"), answer=last,
                              text=f"Is there an activation after the last layer of {_range(linears)} "
                                   f"({linears[-1].path})?"))
    weights = {}
    for place, leaf in enumerate(linears):
        weights[f"{prefix}.linear.{place}.weight"] = leaf.weight
        if config["bias"]:
            weights[f"{prefix}.linear.{place}.bias"] = leaf.tensors.get("bias", zeros(leaf.n_out))
    for place, leaf in enumerate(norms):
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            weights[f"{prefix}.norm.{place}.{name}"] = leaf.tensors.get(name, zeros((), dtype=int))
    return config, weights, asked


def with_bias(name: str, leaf: Leaf) -> dict[str, Tensor]:
    """A layer's weight and, if it has one, its bias, under another name."""
    return {f"{name}.{last}": tensor for last, tensor in leaf.tensors.items() if last in ("weight", "bias")}


def held_scale(leaf: Leaf) -> float | None:
    """The number that a learned temperature or scale multiplies a comparison by; None for any other tensor."""
    if leaf.weight.numel() != 1 or not leaf.named(r"temp|(^|[._])tau$|(^|\.)t$|scale"):
        return None
    held = float(leaf.weight)
    if leaf.named("scale"):
        return math.exp(held) if leaf.named("logit_scale") and held < MAX_LOG_SCALE else held
    return 1 / held if held else None


def who_reads(user: Leaf, settings: Settings) -> list[Question]:
    """Whether a user is known by a history of items, where the table that stands for users is called so; asked.

    Raises ModelError where it is: weights don't say how its vectors are pooled.
    """
    if user.named(r"user|customer|member") or not user.named(r"item|movie|product|hist|seq|behav|click"):
        return []
    if settings.get("user_reads") == "a history":
        raise ModelError(f"Users are known by a history over the table {user.path}, and weights don't say how it is "
                         "pooled. Export the model to ONNX or .pt2.")
    return [Question(key="user_reads", choices=("one id", "a history"), answer="one id",
                     text=f"Does the table {user.path}, which stands for users, read one id a row or a history of "
                          "items?")]


def padded_with(table: Leaf, settings: Settings) -> list[Question]:
    """Which id pads a list, where a row of zeros other than row 0 says that it isn't 0; asked.

    Raises Untold unless the answer is 0: lists come with zeros behind them.
    """
    zeros_in = (~table.weight.bool().any(1)).nonzero().flatten().tolist()
    if len(zeros_in) != 1 or zeros_in == [0] or table.n_in == 1:
        return []
    row = zeros_in[0]
    asked = Question(key="padding_id", choices=(0, row), answer=row, text=f"Which id pads a list over {table.path}?")
    if settings.get("padding_id", row) == 0:
        return [asked]
    raise Untold(f"Row {row} of {table.path} is all zeros and row 0 isn't: {row} seems to be the id of padding, "
                 f"while lists are padded with 0 here. Put that row in front of the table, so that every id below "
                 f"{row} "
                 'grows by one, and upload it again; if 0 pads, say in the binding {"answers": {"padding_id": 0}}.',
                 (asked,))


def clean(path: str) -> str:
    """A table's path as the name of a field: "emb.tables.user_emb" → "user"."""
    parts = [part for part in re.split(r"\.", path) if part not in ("weight", "embedding", "table")]
    last = parts[-1] if parts else path
    if last.isdigit():
        return f"field_{last}"
    plain = re.sub(r"^(emb(edding)?s?|table)_|_?(emb(edding)?s?|table|lookup|factors?)$", "", last)
    return re.sub(r"\W", "_", plain) or last


def _range(linears: list[Leaf]) -> str:
    return linears[0].path if len(linears) == 1 else f"{linears[0].path} … {linears[-1].path}"


def _norm_place(linears: list[Leaf], norms: list[Leaf]) -> str | None:
    """Before or after the activation, by the numbers in a Sequential; None where they don't tell."""
    (before, _, first), (path, _, second) = linears[0].path.rpartition("."), norms[0].path.rpartition(".")
    if before != path or not first.isdigit() or not second.isdigit() or len(linears) < 2:
        return None
    following = linears[1].path.rpartition(".")[2]
    if not following.isdigit() or int(following) - int(first) < 3:
        return None
    return {1: "before", 2: "after"}.get(int(second) - int(first))
