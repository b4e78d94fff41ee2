"""What an upload asks for, before it is imported: its inputs, its open questions, and the mappings that came with it.

    look = look_in_sandbox({"model.onnx": path, "metadata.json": path})      # of importers.sandbox
    look.inputs, look.questions, look.mappings

The record is light; `look_at` runs in the sandboxed child alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compression.importers.binding.proposal import ModelInput
from compression.spec.records import Question

MOST_INPUTS = 5000
NAMED_BY_COLUMNS = ("fields", "numbers")  # questions that the choice of columns answers


@dataclass(frozen=True)
class Mapping:
    """A mapping value → row that an uploaded JSON holds."""

    count: int
    first: int  # the lowest row


@dataclass(frozen=True)
class Look:
    """`reads`: columns that a model names itself, which leaves nothing to bind. `lists`: inputs that take lists.

    `columns`: input → column as a training tool said. `vocabularies`: column → how many values it lists.
    """

    title: str = ""
    inputs: tuple[ModelInput, ...] = ()
    lists: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    mappings: dict[str, Mapping] = field(default_factory=dict)
    vocabularies: dict[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; keys of `rows` are places or None, which JSON has no keys for."""
        return asdict(self) | {"inputs": [asdict(one) | {"rows": list(one.rows.items())} for one in self.inputs],
                               "questions": [one.model_dump(mode="json") for one in self.questions]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Look":
        """A checked look. Raises ValueError, KeyError or TypeError for anything that is none."""
        if len(plain["inputs"]) > MOST_INPUTS:
            raise ValueError("too many inputs")
        return cls(
            title=str(plain["title"]), inputs=tuple(_input(one) for one in plain["inputs"]),
            lists=tuple(map(str, plain["lists"])), reads=tuple(map(str, plain["reads"])),
            columns={str(name): str(column) for name, column in plain["columns"].items()},
            questions=tuple(Question.model_validate(one) for one in plain["questions"]),
            mappings={str(name): Mapping(int(one["count"]), int(one["first"]))
                      for name, one in plain["mappings"].items()},
            vocabularies={str(name): int(count) for name, count in plain["vocabularies"].items()})


def _input(one: dict[str, Any]) -> ModelInput:
    if one["dtype"] not in ("int64", "int32", "float32"):
        raise ValueError("no type of an input")
    return ModelInput(str(one["name"]), one["dtype"], None if one["width"] is None else int(one["width"]),
                      {None if place is None else int(place): int(rows) for place, rows in one["rows"]},
                      tuple(map(int, one["shifts"])))


def look_at(files: dict[str, Path], out: Path) -> Look:
    """What the files ask for; scratch is written beside `out`. Raises ModelError with what is wrong with them."""
    from compression.importers import reader
    from compression.importers.binding.vocabularies import mappings_in
    from compression.importers.hugging_face.settings import is_hugging_face

    with reader.checked_upload(files, out.parent) as (files, name):
        vocabularies = {column: len(values) for column, values in reader.vocabularies_of(files).items()}
        mappings = {key: Mapping(len(found), min(found.values())) for other, path in sorted(files.items())
                    if other.endswith(".json") and other not in ("config.json", "vocabularies.json")
                    for key, found in mappings_in(path).items()}
        if not reader.is_weights(name):
            inputs, reads = _of_graph(files, name, out)
            return Look("graph", inputs, reads=reads, mappings=mappings, vocabularies=vocabularies)
        if reader.has_config(files, name):
            return _of_config(files, name)
        if is_hugging_face(files):
            from compression.importers.hugging_face.reader import look_at_folder

            title, inputs = look_at_folder(files, name)
            return Look(title, inputs, lists=tuple(one.name for one in inputs), vocabularies=vocabularies)
        return _of_weights(files, name, mappings, vocabularies)


def _of_graph(files: dict[str, Path], name: str, out: Path) -> tuple[tuple[ModelInput, ...], tuple[str, ...]]:
    """(inputs of an ONNX file, an exported program or a model of Keras, columns its own signature names)."""
    from compression.importers.onnx.inputs import model_inputs
    from compression.importers.reader import signature_beside
    from compression.models.onnx.check import read_checked
    from compression.spec.signature import Signature

    said = signature_beside(files)
    if isinstance(said.get("inputs"), list):
        try:
            known = {key: value for key, value in said.items() if key in Signature.model_fields}
            return (), tuple(one.column for one in Signature.model_validate(known).singles)
        except ValueError:
            return (), ()  # the import says what is wrong with it
    path = files[name]
    if not name.lower().endswith(".onnx"):
        path = out.parent / "looked.onnx"
        _convert(files, name, path)
        files = {file.name: file for file in out.parent.glob("looked.onnx*")}
    data = {other: file for other, file in files.items() if file != path}
    return tuple(model_inputs(read_checked(path, data, name=name))), ()


def _convert(files: dict[str, Path], name: str, path: Path) -> None:
    """A graph of another format as ONNX, in the way its import does it."""
    from compression.importers.reader import is_keras

    if is_keras(name):
        from compression.importers.keras import graph
        from compression.importers.keras.file import read_keras

        graph.write_onnx(read_keras(files, name, path.parent / "looked"), path, name)
    else:
        from compression.importers.pt2.file import read_pt2
        from compression.importers.pt2.reader import write_onnx

        write_onnx(read_pt2(files[name], name), path, name)


def _of_config(files: dict[str, Path], name: str) -> Look:
    """A model of the zoo, which knows its columns; what is wrong with its config the import says."""
    from compression.importers.reader import safetensors_metadata
    from compression.spec.signature import Signature

    try:
        text = files["config.json"].read_bytes() if "config.json" in files else \
            safetensors_metadata(files[name], name)["config"]
        plain = json.loads(text)
        signature = Signature.model_validate(plain["signature"])
        return Look(str(plain["architecture"])[:200], reads=tuple(one.column for one in signature.singles))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Look("config")


def _of_weights(files: dict[str, Path], name: str, mappings: dict[str, Mapping], vocabularies: dict[str, int]) -> Look:
    """Weights that nothing of ours describes: the family they are recognised as, and what it can't tell."""
    from compression.importers.checkpoint.bound import input_of
    from compression.importers.checkpoint.choose import answered
    from compression.importers.checkpoint.read import recognised
    from compression.importers.checkpoint.recbole_fields import FieldsUntold
    from compression.importers.checkpoint.recognised import Settings, Untold
    from compression.importers.reader import state_and_told

    state, told = state_and_told(files, name)
    settings = Settings({}, told.settings)
    try:
        found = recognised(state, name, settings, told)
    except FieldsUntold as untold:  # the import asks the data
        return Look("RecBole", reads=untold.reads, vocabularies=vocabularies)
    except Untold as untold:  # the import asks the data, unless the person says it
        return Look("one table", questions=untold.questions, mappings=mappings, vocabularies=vocabularies)
    mappings = mappings | {key: Mapping(len(one), min(one.values())) for key, one in told.mappings.items()}
    questions = tuple(one for one in answered(found, settings) if one.key not in NAMED_BY_COLUMNS)
    columns = told.settings.get("columns")
    lists = tuple(one.name for one in found.fields if one.kind == "multi")
    return Look(found.title, tuple(map(input_of, found.fields)), lists, columns if isinstance(columns, dict) else {},
                questions=questions, mappings=mappings,
                vocabularies=vocabularies | {column: len(words) for column, words in told.vocabularies.items()})
