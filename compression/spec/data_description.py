"""The description of a dataset: which files, how to read them, what each column is for.

Written as YAML beside the files (README.md has an example for a CSV and for Criteo's headerless TSV).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from compression.spec.records import Record
from compression.spec.task import DEFAULT_TASK, TASKS, SplitKind, TaskKey

Encoding = Literal["utf-8", "cp1252", "latin-1", "utf-16", "cp1250", "cp1251", "gb18030", "shift_jis", "euc_kr", "big5"]


class Role(StrEnum):
    """What a column is for."""

    LABEL = "label"
    USER = "user"  # a category that also groups rows for GAUC
    ITEM = "item"
    TIME = "time"  # orders the rows for a time split; not a feature
    CATEGORY = "category"
    NUMBER = "number"
    MULTI = "multi"  # several categories in a cell
    WEIGHT = "weight"  # how much a row counts, in training and in metrics of rows; not a feature
    IGNORE = "ignore"


class Column(Record):
    """A column and its role."""

    name: str
    role: Role
    separator: str = Field(" ", min_length=1, max_length=4)  # between the values of a multi cell
    decimal: Literal[".", ","] = "."  # in the numbers of a text table: 3.45 or 3,45


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


class History(Record):
    """A list that is made for each row: the items of the user's positive rows before it, the newest last.

    Its name stands among the columns with the role multi, and not in the file.
    """

    column: str
    last: int = Field(20, ge=1, le=1000)  # items kept


class Negatives(Record):
    """Rows drawn for a log of positives: for each row, items that its user never chose. The label is made with them."""

    per_positive: int = Field(1, ge=1, le=100)
    by: Literal["uniform", "popularity"] = "uniform"  # every item alike, or as often as it was chosen
    seed: int = Field(0, ge=0, le=2**31 - 1)


class DataDescription(Record):
    """Everything needed to read a dataset the same way again."""

    version: Literal[1] = 1
    name: str
    files: dict[Literal["all", "train", "valid", "test"], str]  # path relative to the description
    format: Literal["csv", "tsv", "parquet", "jsonl", "libsvm", "lists", "candidates", "libffm", "trec",
                    "trec-run", "impressions"] = "csv"
    encoding: Encoding | None = None  # of text; without one, UTF-8
    delimiter: str | None = Field(None, min_length=1, max_length=2)  # two characters as in user::item
    header: bool = True
    label: Label
    columns: tuple[Column, ...]
    split: Split = Split()
    task: TaskKey = DEFAULT_TASK
    min_count: int = Field(1, ge=1, le=1000)  # rarer categories become "unknown" in vocabularies built from the data
    companions: dict[str, str] = Field(default_factory=dict)  # file → the one beside it: sizes of queries, judgements
    history: History | None = None
    negatives: Negatives | None = None
    terms: str = ""  # licence or terms shown beside the data

    @model_validator(mode="wrap")
    @classmethod
    def _as_the_task_says(cls, given: Any, handler: ModelWrapValidatorHandler[DataDescription]) -> DataDescription:
        """Split and threshold of the label, where none is given: what the task has. They stay unset, so that another
        task decides them anew."""
        if not isinstance(given, Mapping) or (key := given.get("task", DEFAULT_TASK)) not in list(TASKS):
            return handler(given)  # what is wrong is said by the fields
        given, left = {"split": {}} | dict(given), {}
        for name, kept in (("split", {"kind": TASKS[key].split}), ("label", {"at_least": TASKS[key].positive_from})):
            part = given.get(name)
            part = part.model_dump(exclude_unset=True) if isinstance(part, Split | Label) else part
            if isinstance(part, dict):
                left[name] = kept.keys() - part.keys()
                given[name] = kept | part
        made = handler(given)
        for name, keys in left.items():
            getattr(made, name).model_fields_set.difference_update(keys)
        return made

    def for_task(self, key: str) -> DataDescription:
        """The description with another task, which decides what was left to it."""
        label, split = (part.model_dump(exclude_unset=True) for part in (self.label, self.split))
        return DataDescription.model_validate(dict(self) | {"task": key, "label": label, "split": split})

    @property
    def file_names(self) -> list[str]:
        """Every file that belongs to the dataset."""
        return [*self.files.values(), *self.companions.values()]

    @property
    def made_columns(self) -> tuple[str, ...]:
        """Columns that no file holds: they are made when the files are read."""
        history = (self.history.column,) if self.history else ()
        return (*history, self.label.column) if self.negatives else history

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Files that say of no row whether it is positive, and lack the companion that does."""
        return tuple(file for file in self.files.values() if self.is_run and file not in self.companions)

    @property
    def comma_columns(self) -> tuple[str, ...]:
        """Columns of numbers that the files write with a decimal comma."""
        return tuple(one.name for one in self.columns if one.decimal == ",") if self.is_text_table else ()

    @property
    def is_run(self) -> bool:
        """Whether rows are what a system found, of which judgements beside them say what is relevant."""
        return self.format == "trec-run"

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
