"""Decide what weights don't say: answers first, then the loss of every choice on validation rows, else the guess."""

from __future__ import annotations

import copy
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from compression.errors import ModelError, RecPressError
from compression.models.foreign import build
from compression.models.foreign.chain import placed
from compression.models.importers.state_dict.recognised import Recognised, Settings
from compression.models.signature import Signature
from compression.models.zoo.fields import safe_keys
from compression.records import Question

MAX_TRIED = 48  # combinations; with more, one question is decided after the other
ROWS = 4096
STRUCTURE = ("fields", "numbers", "lists", "lengths", "field_sizes", "length", "dropout", "scale")


def assembled(found: Recognised, config: dict[str, Any], signature: Signature) -> nn.Module:
    """The module with the recognised weights in it. Raises ModelError where they don't fit."""
    with torch.device("meta"):
        model = build(found.architecture, signature, config)
    keys = safe_keys(signature)
    state = {placed(model, _of_field(name, keys)): _alone(tensor) for name, tensor in found.weights.items()}
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"The weights were taken for {found.title}, but don't fit it ({reason}). Check the "
                         f"answers, or "
                         "export the model to ONNX.") from None
    return model.eval()


def decided(found: Recognised, settings: Settings, signature: Signature, *, vocabularies: dict[str, list[str]],
            data_folder: Path | None) -> tuple[dict[str, Any], tuple[Question, ...]]:
    """The whole config, and every question with its answer and who gave it. Raises ModelError for a wrong answer."""
    known = {question.key for question in found.questions} | set(STRUCTURE)
    strangers = sorted(set(settings.answers) - known)
    if strangers:
        raise ModelError(f"The answers have {strangers[0]!r}, which {found.title} doesn't ask; it asks: "
                         f"{', '.join(sorted(question.key for question in found.questions)) or 'nothing'}.")
    config, questions = copy.deepcopy(found.config), answered(found, settings)
    for question in questions:
        if question.choices or question.key in ("scale",):
            set_in(config, question.key, question.answer)
    open_ones = [one for one in questions if one.decided_by == "guess" and len(one.choices) > 1]
    rows = _rows(signature, vocabularies, data_folder) if open_ones else None
    if rows is None:
        return config, tuple(questions)
    chosen = _tried(found, config, open_ones, signature, rows)
    for key, (answer, _) in chosen.items():
        set_in(config, key, answer)
    return config, tuple(one.model_copy(update={
        "answer": chosen[one.key][0], "losses": chosen[one.key][1], "decided_by": "data"})
        if one.key in chosen else one for one in questions)


def answered(found: Recognised, settings: Settings) -> list[Question]:
    """The questions with their answers so far and who gave them. Raises ModelError for a wrong answer."""
    questions = []
    for question in found.questions:
        who = settings.decided(question.key)
        answer = settings.get(question.key, question.answer)
        if who == "file" and question.choices and answer not in question.choices:
            who, answer = None, question.answer  # a tool's word for something else
        if question.choices and answer not in question.choices:
            raise ModelError(f"The answer to {question.key!r} is one of {', '.join(map(str, question.choices))}; got "
                             f"{str(answer)[:60]!r}.")
        questions.append(question.model_copy(update={"answer": answer, "decided_by": who or "guess"}))
    return questions


def set_in(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a setting by its path: "mlp.activation"."""
    *branches, last = key.split(".")
    for branch in branches:
        config = config[branch]
    config[last] = value


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """A part of another tensor as one of its own: a file of weights holds no views."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes and tensor.is_contiguous() else tensor.clone()


def _of_field(name: str, keys: dict[str, str]) -> str:
    """"tables[user]" → "tables.user.weight", by the field's key in the module."""
    part, bracket, field = name.partition("[")
    return f"{part}.{keys[field.removesuffix(']')]}.weight" if bracket else name


def _rows(signature: Signature, vocabularies: dict[str, list[str]], data_folder: Path | None
          ) -> tuple[dict[str, torch.Tensor], torch.Tensor] | None:
    """Validation rows to try on; None without data, or where it can't be read with these columns."""
    if data_folder is None:
        return None
    from compression.data.encode import load_dataset

    try:
        valid = load_dataset(data_folder, signature=signature, vocabularies=vocabularies).splits["valid"]
    except RecPressError:
        return None
    valid = valid.take(np.random.default_rng(0).permutation(len(valid))[:ROWS])
    return {name: torch.from_numpy(values) for name, values in valid.inputs.items()}, torch.from_numpy(valid.label)


def _tried(found: Recognised, config: dict[str, Any], questions: list[Question], signature: Signature,
           rows: tuple[dict[str, torch.Tensor], torch.Tensor]) -> dict[str, tuple[Any, tuple[float, ...]]]:
    """The choice of the lowest loss for each question, with the loss of every choice beside the chosen others."""
    best = {one.key: one.answer for one in questions}

    def loss(answers: dict[str, Any]) -> float:
        settings = copy.deepcopy(config)
        for key, value in answers.items():
            set_in(settings, key, value)
        batch, label = rows
        with torch.no_grad():
            logits = assembled(found, settings, signature)(batch)
        value = float(F.binary_cross_entropy_with_logits(logits, label))
        return value if math.isfinite(value) else math.inf

    if math.prod(len(one.choices) for one in questions) <= MAX_TRIED:
        combinations = [dict(zip(best, values, strict=True)) for values in product(*(one.choices for one in questions))]
        best = min(combinations, key=loss)  # the first of equals: choices stand in the order of their likelihood
    else:
        for one in [*questions, *questions]:
            best[one.key] = min(one.choices, key=lambda value, key=one.key: loss(best | {key: value}))
    return {one.key: (best[one.key], tuple(round(loss(best | {one.key: value}), 6) for value in one.choices))
            for one in questions}
