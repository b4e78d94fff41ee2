"""What a model reads and gives: named inputs bound to dataset columns, and one score.

Legend: B batch, L length of a multi-valued column, V vocabulary rows. Row 0 of every table the zoo
makes stands for "unknown or missing", and is the padding of multi-valued columns.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from compression.spec.names import free_name
from compression.spec.records import Record
from compression.spec.task import DEFAULT_TASK, OutputForm, TaskKey

OUTPUT = "score"  # what an exported file calls its output
MAX_INPUTS = 1000  # of a model, and columns of a dataset that are inputs


class Input(Record):
    """One input of the exported file.

    category: ids (B,) int64 · multi: ids (B, L) int64 padded with 0 · number: values (B,) float32.
    A wide input of a foreign file, (B, F), has an Input for each of its F columns in `parts`, of its own kind.
    """

    name: str  # name in the exported file; the zoo names it after the column
    kind: Literal["category", "multi", "number"]
    column: str  # dataset column it is bound to
    cardinality: int | None = Field(None, ge=1)  # V, rows of the table, with row 0
    max_length: int | None = Field(None, ge=1)  # L
    fixed_length: bool = False  # a foreign file may read lists of exactly L
    length_of: str = ""  # name of the multi input before it whose lists are as long, as a mask's are
    transform: Literal["none", "standardize", "log"] = "none"  # log: sign(x)·log1p(|x|) first, then standardize
    mean: float = 0.0  # of the (log-)values over the training split
    std: float = Field(1.0, gt=0)
    dtype: Literal["int64", "int32", "float32"] = "int64"
    ids: Literal["vocabulary", "as-is"] = "vocabulary"  # as-is: the column already holds row numbers
    first_id: int = Field(1, ge=0, le=1)  # row of the vocabulary's first value; 0: no row is kept for unknown values
    offset: int = Field(0, ge=0)  # added to the ids by us, where the parts of a wide input share a table
    shift: int = Field(0, ge=0)  # added to the ids by the model itself before it looks up a shared table
    parts: tuple["Input", ...] = ()

    @property
    def singles(self) -> tuple["Input", ...]:
        """The input of each dataset column that is read: its parts, or itself."""
        return self.parts or (self,)


class Signature(Record):
    """All inputs in the order of the exported file, and the output."""

    inputs: tuple[Input, ...]
    output: str = OUTPUT  # name of the output in the exported file, (B,) float32, or (B, D) where it is a vector
    output_form: OutputForm = "probability"
    task: TaskKey = DEFAULT_TASK

    @model_validator(mode="before")
    @classmethod
    def _name_output(cls, given: Any) -> Any:
        """The output's name, where none is given: `score`, or another one where an input has that name."""
        if not isinstance(given, dict) or "output" in given:
            return given
        names = [item.name if isinstance(item, Input) else item.get("name") for item in given.get("inputs", ())
                 if isinstance(item, Input | dict)]
        return given | {"output": free_name(OUTPUT, names)}

    def input(self, name: str) -> Input:
        """The input of that name; "name[k]" is part k of a wide one, "name+" the wide one with the model's shifts."""
        found, place, _ = self.place_of(name)
        return found if place is None else found.parts[place]

    def place_of(self, name: str) -> tuple[Input, int | None, bool]:
        """(input, which part of it, whether with the model's shifts) by a name as `input` takes it.

        A name that an input has is that input's, whatever marks are in it.
        """
        known = {item.name: item for item in self.inputs}
        if name in known:
            return known[name], None, False
        plain = name.removesuffix("+")
        if plain in known:
            return known[plain], None, True
        stem, _, place = plain.rpartition("[")
        return known[stem], int(place.removesuffix("]")), False

    @property
    def singles(self) -> tuple[Input, ...]:
        """The input of each dataset column that is read, wide inputs taken apart."""
        return tuple(single for item in self.inputs for single in item.singles)
