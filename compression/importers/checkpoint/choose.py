"""Decide what weights don't say: answers first, then the loss of every choice on validation rows, else the guess."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compression.importers.checkpoint.graph import mean_weights, needs_graph, propagated
from compression.importers.checkpoint.recognised import Recognised, Settings
from compression.importers.checkpoint.trial import TrialRows, calibrated_losses, form_losses, trial_rows
from compression.models.uploaded import build
from compression.models.uploaded.chain import placed
from compression.models.zoo.fields import safe_keys
from compression.spec.errors import ModelError
from compression.spec.records import Question
from compression.spec.signature import Signature

MAX_TRIED = 48  # combinations; with more, one question is decided after the other
TIE = 1e-7  # losses that differ by less are equal
STRUCTURE = ("fields", "numbers", "lists", "lengths", "field_sizes", "length", "dropout", "scale")
# their choices take the weights for other layers
STRUCTURAL = ("linear_reads", "spare_norm", "beside", "user_reads", "padding_id")
NO_TRIAL = (*STRUCTURAL, "blocks.eps")  # rows can't tell one eps from another
FORM, GRAPH = "output_form", "graph_layers"


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
    """The whole config, and every question with its answer and who gave it; tables of a graph are propagated.

    Raises ModelError for a wrong answer, and for a graph that nothing gives.
    """
    known = {question.key for question in found.questions} | set(STRUCTURE)
    strangers = sorted(set(settings.answers) - known)
    if strangers:
        raise ModelError(f"The answers have {strangers[0]!r}, which {found.title} doesn't ask; it asks: "
                         f"{', '.join(sorted(question.key for question in found.questions)) or 'nothing'}.")
    config, questions = copy.deepcopy(found.config), answered(found, settings)
    for question in questions:
        if (question.choices and question.key not in (FORM, *STRUCTURAL)) or question.key == "scale":
            set_in(config, question.key, question.answer)
    open_ones = [one for one in questions if one.decided_by == "guess" and len(one.choices) > 1
                 and one.key not in NO_TRIAL]
    rows = trial_rows(signature, vocabularies, data_folder) if open_ones or config.get(GRAPH) else None
    if rows is not None and open_ones:
        tried = _tried(found, config, open_ones, signature, rows)
        questions = [tried.get(one.key, one) for one in questions]
        for one in tried.values():
            if one.key != FORM:
                set_in(config, one.key, one.answer)
    found.weights = _propagated(found, config, rows)
    config.pop(GRAPH, None)
    return config, tuple(questions)


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


def _propagated(found: Recognised, config: dict[str, Any], rows: TrialRows | None) -> dict[str, Tensor]:
    """The weights, with the two tables averaged over the graph's layers where the config asks for it."""
    n_layers = config.get(GRAPH, 0)
    if not n_layers:
        return found.weights
    if rows is None or not len(rows.users):
        raise needs_graph(n_layers)
    names = ("user_product.weight", "item_product.weight")
    weights = mean_weights(n_layers) if found.layer_weights is None else found.layer_weights
    tables = propagated(*(found.weights[name] for name in names), rows.users, rows.items, weights)
    return found.weights | dict(zip(names, tables, strict=True))


def _tried(found: Recognised, config: dict[str, Any], questions: list[Question], signature: Signature,
           rows: TrialRows) -> dict[str, Question]:
    """The questions that the rows decide, each with the choice of the lowest loss and the loss of every other one.

    A question whose choices all score alike stays a guess. The form of the output changes no order of rows: it is
    decided last, by the scores as they are.
    """
    rest = [one for one in questions if one.key != FORM]
    best = {one.key: one.answer for one in rest}

    def scores(answers: dict[str, Any]) -> Tensor:
        settings = copy.deepcopy(config)
        for key, value in answers.items():
            set_in(settings, key, value)
        as_tried = copy.copy(found)
        as_tried.weights = _propagated(found, settings, rows)
        settings.pop(GRAPH, None)
        with torch.no_grad():
            return assembled(as_tried, settings, signature)(rows.batch)

    tried: dict[str, Tensor] = {}

    def losses(answers: dict[str, Any]) -> Tensor:
        key = repr(sorted(answers.items()))
        if key not in tried:  # one question after the other comes back to the same answers
            tried[key] = calibrated_losses(scores(answers), rows.label)
        return tried[key]

    usable = {one.key: [value for value in _likeliest_first(one) if one.key != GRAPH or not value or len(rows.users)]
              for one in rest}
    if math.prod(map(len, usable.values())) <= MAX_TRIED:
        combinations = [dict(zip(usable, values, strict=True)) for values in product(*usable.values())]
        best = _least(combinations, losses)
    else:
        for one in [*rest, *rest]:
            best = _least([best | {one.key: value} for value in usable[one.key]], losses)
    decided = {one.key: _decided(one, best[one.key], {value: losses(best | {one.key: value})
                                                      for value in usable[one.key]}) for one in rest}
    for one in questions:
        if one.key == FORM:
            given = scores(best)
            by_form = {form: form_losses(form, given, rows) for form in one.choices}
            winner = min(_likeliest_first(one), key=lambda form: round(float(by_form[form].mean()), 7))
            decided[FORM] = _decided(one, winner, by_form)
    return {key: one for key, one in decided.items() if one is not None}


def _likeliest_first(question: Question) -> list[Any]:
    return sorted(question.choices, key=lambda value: value != question.answer)


def _least(candidates: list[dict[str, Any]], losses: Callable[[dict[str, Any]], Tensor]) -> dict[str, Any]:
    """The candidate of the lowest mean loss; of equals the first, which is the likeliest."""
    best, least = candidates[0], math.inf
    for one in candidates:
        mean = float(losses(one).mean())
        if mean < least - TIE:
            best, least = one, mean
    return best


def _decided(question: Question, answer: Any, losses: dict[Any, Tensor]) -> Question | None:
    """The question as the rows decide it; None where they can't tell its choices apart."""
    means = {value: float(one.mean()) for value, one in losses.items()}
    others = [value for value in means if abs(means[value] - means[answer]) > TIE]
    if not others:
        return None
    lead = losses[min(others, key=means.__getitem__)] - losses[answer]
    error = float(lead.std() / math.sqrt(len(lead))) if len(lead) > 1 and bool(torch.isfinite(lead).all()) else None
    return question.model_copy(update={
        "answer": answer, "decided_by": "data", "lead_error": error,
        "losses": tuple(round(means.get(value, math.inf), 6) for value in question.choices)})
