"""Weights without a config.json into a model folder: recognise, bind, decide, write.

    read_state_dict(state, "model.pth", out, given={"answers": {"mlp.activation": "tanh"}}, …)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from compression.importers.checkpoint.bound import bound
from compression.importers.checkpoint.catalogue import recognise
from compression.importers.checkpoint.choose import FORM, assembled, decided
from compression.importers.checkpoint.field_tables import FIELD_SIZES
from compression.importers.checkpoint.id_maps import matched, with_mappings
from compression.importers.checkpoint.joint import sizes_in
from compression.importers.checkpoint.recognised import Recognised, Settings, Untold
from compression.importers.checkpoint.told import Told
from compression.importers.checkpoint.trial import NOISE
from compression.importers.description import describe_read
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription, Question
from compression.spec.signature import Signature


def read_state_dict(state: dict[str, Tensor], name: str, out: Path, *, given: dict[str, Any],
                    vocabularies: dict[str, list[str]], data_folder: Path | None,
                    told: Told | None = None) -> ModelDescription:
    """Write the model to `out`; its description says what was asked and how it was decided.

    `given`: a binding, with `answers` to questions; `told`: what a training tool kept beside the weights.
    Raises ModelError for weights that are not recognised, and for answers that don't fit them.
    """
    answers = given.get("answers") or {}
    if not isinstance(answers, dict):
        raise ModelError("The answers of a binding are an object: the key of a question → its answer.")
    given = {key: value for key, value in given.items() if key != "answers"}
    told = told or Told()
    settings = Settings(answers, told.settings)
    found = _recognised_with_data(state, name, settings, told, data_folder)
    given, listed = with_mappings(given, told.mappings)
    vocabularies = vocabularies | told.vocabularies | listed  # the tool's, whose rows the tables stand in

    def inputs() -> Signature:
        return bound(found.fields, given, vocabularies=vocabularies, data_folder=data_folder,
                     columns=settings.get("columns"))

    signature = inputs()
    given, listed, mapped = matched(found.fields, signature, given, told.mappings, vocabularies, data_folder)
    if listed:
        vocabularies |= listed
        signature = inputs()
    config, questions = decided(found, settings, signature, vocabularies=vocabularies, data_folder=data_folder)
    module = assembled(found, config, signature)
    if any(one.key == FORM and one.answer == "rating" for one in questions):
        signature = signature.model_copy(update={"output_form": "rating"})
        mapped += ("Scores are ratings: no sigmoid follows the last number. They are measured as the chance that the "
                   "rating reaches the label's threshold; fine-tuning learns from labels of 0 and 1, and moves them.",)
    save_model(out, LoadedModel(module, signature, vocabularies, found.architecture, module.config))
    description = describe_read(load_model(out), out.parent)
    how = f"read as {found.title}, as its settings say" if told.recogniser else \
        f"recognised as {found.title} by the names and shapes of its weights"
    said = (f"{name} was {how}.", *told.notes, *found.notes, *mapped, *_guesses(questions))
    return description.model_copy(update={"notes": said, "questions": questions})


def _recognised_with_data(state: dict[str, Tensor], name: str, settings: Settings, told: Told, data_folder: Path | None
                          ) -> Recognised:
    """As `recognised`; rows of fields that share a table come from the data's counts where nothing else says them."""
    try:
        return recognised(state, name, settings, told)
    except Untold as untold:
        sizes = None
        if any(one.key == FIELD_SIZES for one in untold.questions):
            sizes = sizes_in(data_folder, max(len(tensor) for tensor in state.values() if tensor.dim()))
        if sizes is None:
            raise
        settings.came |= sizes.settings
        told.notes.append(sizes.sentence)
        return recognised(state, name, settings, told)


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
    tried = [_won(one) for one in questions if one.decided_by == "data"]
    sentences = []
    if tried:
        sentences.append(f"Decided by the log loss on validation rows: {'; '.join(tried)}.")
    if guessed:
        sentences.append(f"The weights don't say, and it was guessed: {'; '.join(guessed)}. Import again with answers "
                         "if a guess is wrong: the scores would be wrong too.")
    return tuple(sentences)


def _won(question: Question) -> str:
    """ "compare: cosine (0.4021; next dot, 0.0310 more)", with a warning where that is within the noise of the rows."""
    by_choice = dict(zip(question.choices, question.losses, strict=True))
    least = by_choice[question.answer]
    following = min((value for value in by_choice if value != question.answer and by_choice[value] > least),
                    key=by_choice.__getitem__, default=None)
    said = f"{question.key}: {_said(question.answer)} ({least:.4f}"
    if following is None:
        return f"{said})"
    lead = by_choice[following] - least
    noisy = question.lead_error is not None and lead < NOISE * question.lead_error
    doubt = ", which is within the noise: check it" if noisy else ""
    return f"{said}; next {_said(following)}, {lead:.4f} more{doubt})"


def _said(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)
