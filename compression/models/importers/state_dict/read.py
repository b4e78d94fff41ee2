"""Weights without a config.json into a model folder: recognise, bind, decide, write.

    read_state_dict(state, "model.pth", out, given={"answers": {"mlp.activation": "tanh"}}, …)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from compression.data.cells import repeated
from compression.errors import ModelError
from compression.models.files import LoadedModel, load_model, save_model
from compression.models.importers.state_dict.bound import bound
from compression.models.importers.state_dict.catalogue import recognise
from compression.models.importers.state_dict.choose import assembled, decided
from compression.models.importers.state_dict.recognised import Recognised, Settings
from compression.models.importers.state_dict.told import Told
from compression.models.structure import describe
from compression.records import ModelDescription, Question


def read_state_dict(state: dict[str, Tensor], name: str, out: Path, *, given: dict[str, Any],
                    vocabularies: dict[str, list[str]], data_folder: Path | None,
                    told: Told | None = None) -> ModelDescription:
    """Write the model to `out`; its description says what was asked and how it was decided.

    `given`: a binding, with `answers` to questions; `told`: what a training tool kept beside the weights.
    Raises ModelError for weights that are not recognised, and for answers that don't fit them.
    """
    from compression.models.importers.reader import exported_graph_bytes

    answers = given.get("answers") or {}
    if not isinstance(answers, dict):
        raise ModelError("The answers of a binding are an object: the key of a question → its answer.")
    given = {key: value for key, value in given.items() if key != "answers"}
    told = told or Told()
    settings = Settings(answers, told.settings)
    found = recognised(state, name, settings, told)
    vocabularies = vocabularies | told.vocabularies  # the tool's, whose rows the tables stand in
    if twice := repeated(told.vocabularies):
        raise ModelError(twice)
    signature = bound(found.fields, given, vocabularies=vocabularies, data_folder=data_folder,
                      columns=settings.get("columns"))
    config, questions = decided(found, settings, signature, vocabularies=vocabularies, data_folder=data_folder)
    module = assembled(found, config, signature)
    save_model(out, LoadedModel(module, signature, vocabularies, found.architecture, module.config))
    loaded = load_model(out)
    graph_bytes = exported_graph_bytes(loaded.module, loaded.signature, out.parent)
    description = describe(loaded.module, loaded.signature, architecture=loaded.architecture, graph_bytes=graph_bytes)
    how = f"read as {found.title}, as its settings say" if told.recogniser else \
        f"recognised as {found.title} by the names and shapes of its weights"
    said = (f"{name} was {how}.", *told.notes, *_guesses(questions))
    return description.model_copy(update={"notes": said, "questions": questions})


def recognised(state: dict[str, Tensor], name: str, settings: Settings, told: Told) -> Recognised:
    """What the weights are: as the tool that saved them says, else by names and shapes. Raises ModelError."""
    if told.recogniser is not None:
        return told.recogniser(state, name, settings)
    return recognise(without_common_prefix(state), name, settings)


def without_common_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without the attribute that a wrapper put before all of them: "net.user.weight" → "user.weight"."""
    while len({name.partition(".")[0] for name in state}) == 1 and all(name.count(".") > 1 for name in state):
        state = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    return state


def _guesses(questions: tuple[Question, ...]) -> tuple[str, ...]:
    """A sentence for what nobody said and no data decided, and one for what the data did."""
    guessed = [f"{one.key}: {_said(one.answer)}" for one in questions if one.decided_by == "guess"]
    tried = [f"{one.key}: {_said(one.answer)}" for one in questions if one.decided_by == "data"]
    sentences = []
    if tried:
        sentences.append(f"Decided by the loss on validation rows: {'; '.join(tried)}.")
    if guessed:
        sentences.append(f"The weights don't say, and it was guessed: {'; '.join(guessed)}. Import again with answers "
                         "if a guess is wrong: the scores would be wrong too.")
    return tuple(sentences)


def _said(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)
