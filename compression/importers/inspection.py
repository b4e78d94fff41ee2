"""What an upload asks for, before it is imported: its inputs, its open questions, and the mappings that came with it.

    look = look_in_sandbox({"model.onnx": path, "metadata.json": path})      # of importers.sandbox
    look.inputs, look.questions, look.mappings

The record is light; what fills it runs in the sandboxed child alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
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
    `scores`: what may be the score, where there is a choice; `score` is the proposal, "" where there is none.
    `lacks_bundle`: it was exported here, and what numbered its values did not come with it.
    """

    title: str = ""
    inputs: tuple[ModelInput, ...] = ()
    lists: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    mappings: dict[str, Mapping] = field(default_factory=dict)
    vocabularies: dict[str, int] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    score: str = ""
    lacks_bundle: bool = False

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
            vocabularies={str(name): int(count) for name, count in plain["vocabularies"].items()},
            scores=tuple(map(str, plain["scores"])), score=str(plain["score"]),
            lacks_bundle=plain["lacks_bundle"] is True)


def _input(one: dict[str, Any]) -> ModelInput:
    if one["dtype"] not in ("int64", "int32", "float32"):
        raise ValueError("no type of an input")
    return ModelInput(str(one["name"]), one["dtype"], None if one["width"] is None else int(one["width"]),
                      {None if place is None else int(place): int(rows) for place, rows in one["rows"]},
                      tuple(map(int, one["shifts"])))
