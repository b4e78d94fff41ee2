"""The description of a dataset: which files, how to read them, what each column is for.

Written as YAML beside the files (README.md has an example for a CSV and for Criteo's headerless TSV).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, model_validator

from compression.spec.records import Record
from compression.spec.task import DEFAULT_TASK, TASKS, SplitKind, TaskKey


class Role(StrEnum):
    """What a column is for."""

    LABEL = "label"
    USER = "user"  # a category that also groups rows for GAUC
    ITEM = "item"
    TIME = "time"  # orders the rows for a time split; not a feature
    CATEGORY = "category"
    NUMBER = "number"
    MULTI = "multi"  # several categories in a cell
    IGNORE = "ignore"


class Column(Record):
    """A column and its role."""

    name: str
    role: Role
    separator: str = Field(" ", min_length=1, max_length=4)  # between the values of a multi cell


class Label(Record):
    """Which column is the label, and from which value on it counts as positive."""

    column: str
    at_least: float = 1.0


NO_LABEL = Label(column="")  # of a proposal in which a person has to name it


class Split(Record):
    """How rows become train, validation and test when the files are not split already.

    time: the latest rows are test. user_time: each user's latest rows are. user: whole users are. random: any rows.
    leave_one_out: what each user did last is test, what they did before it valid.
    """

    kind: SplitKind = "time"
    valid: float = Field(0.1, ge=0.01, le=0.4)
    test: float = Field(0.1, ge=0.01, le=0.4)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class DataDescription(Record):
    """Everything needed to read a dataset the same way again."""

    version: Literal[1] = 1
    name: str
    files: dict[Literal["all", "train", "valid", "test"], str]  # path relative to the description
    format: Literal["csv", "tsv", "parquet", "jsonl", "libsvm", "lists", "candidates"] = "csv"
    delimiter: str | None = Field(None, min_length=1, max_length=2)  # two characters as in user::item
    header: bool = True
    label: Label
    columns: tuple[Column, ...]
    split: Split = Split()
    task: TaskKey = DEFAULT_TASK
    min_count: int = Field(1, ge=1, le=1000)  # rarer categories become "unknown" in vocabularies built from the data
    companions: dict[str, str] = Field(default_factory=dict)  # file → the file with the sizes of its queries
    terms: str = ""  # licence or terms shown beside the data

    @model_validator(mode="before")
    @classmethod
    def _as_the_task_says(cls, given: Any) -> Any:
        """Split and threshold of the label, where none is given: what the task has."""
        if not isinstance(given, Mapping) or (key := given.get("task", DEFAULT_TASK)) not in list(TASKS):
            return given  # what is wrong is said by the fields
        given = {"split": {}} | dict(given)
        for name, kept in (("split", {"kind": TASKS[key].split}), ("label", {"at_least": TASKS[key].positive_from})):
            part = given.get(name)
            part = part.model_dump(exclude_unset=True) if isinstance(part, Split | Label) else part
            given |= {name: kept | part} if isinstance(part, dict) else {}
        return given

    @property
    def file_names(self) -> list[str]:
        """Every file that belongs to the dataset."""
        return [*self.files.values(), *self.companions.values()]

    @property
    def is_test_only(self) -> bool:
        """Whether there are rows to measure with and none to train on."""
        return set(self.files) == {"test"}

    @property
    def is_text_table(self) -> bool:
        """Whether rows are lines cut at a delimiter: only there delimiter and header mean something."""
        return self.format in ("csv", "tsv")

    def by_role(self, role: Role) -> list[Column]:
        return [column for column in self.columns if column.role is role]
