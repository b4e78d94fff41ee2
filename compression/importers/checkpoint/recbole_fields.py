"""The fields of a RecBole click model: which columns they are, in RecBole's order, and which rows are theirs.

RecBole reads lists first, then single ids, then numbers; single ids share one table, and a number has two rows, the
second of which is multiplied by its value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from compression.importers.checkpoint.recognised import Field, Settings
from compression.importers.checkpoint.told import names_in, text_in
from compression.spec.errors import ModelError

_SHARED = "token_embedding_table.embedding.weight"
_NUMBERS = "float_embedding_table.embedding.weight"
_LISTS = "token_seq_embedding_table."
_LISTS_OF_NUMBERS = "float_seq_embedding_table."


class FieldsUntold(ModelError):
    """Neither the upload nor the data says which rows are whose; `reads` are the columns, one of which will tell."""

    def __init__(self, message: str, reads: list[str]) -> None:
        super().__init__(message)
        self.reads = tuple(reads)


@dataclass(frozen=True)
class Kept:
    """What RecBole's dataset file says: the kind of every column in its order, and the values of ids, row 1 first."""

    kinds: dict[str, str]  # token, token_seq, float, float_seq
    vocabularies: dict[str, list[str]]


@dataclass
class Fields:
    """Lists, single ids and numbers, each in the order of their rows."""

    lists: list[str]
    singles: list[str]
    sizes: list[int]
    numbers: list[str]
    list_rows: list[int]
    notes: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> list[Field]:
        """In the order in which RecBole joins the vectors."""
        return [*(Field(name, "multi", rows) for name, rows in zip(self.lists, self.list_rows, strict=True)),
                *(Field(name, rows=rows) for name, rows in zip(self.singles, self.sizes, strict=True)),
                *(Field(name, "number") for name in self.numbers)]

    def split(self, tables: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """A tensor a field; None where the tables are not of these rows."""
        found: dict[str, Tensor] = {}
        if any(table.dim() != 2 for table in tables.values()):
            return None
        lists = _lists(tables)
        if [len(table) for table in lists] != self.list_rows:
            return None
        found |= dict(zip(self.lists, lists, strict=True))
        if self.singles:
            if _SHARED not in tables or len(tables[_SHARED]) != sum(self.sizes):
                return None
            found |= dict(zip(self.singles, tables[_SHARED].split(self.sizes), strict=True))
        if self.numbers:
            if _NUMBERS not in tables or len(tables[_NUMBERS]) != 2 * len(self.numbers):
                return None
            found |= dict(zip(self.numbers, tables[_NUMBERS][1::2], strict=True))
        return found if len(tables) == len(lists) + bool(self.singles) + bool(self.numbers) else None


def settle_fields(tables: dict[str, Tensor], name: str, config: dict[str, Any], settings: Settings, *,
                  kept: Kept | None, vocabularies: dict[str, list[str]], data_folder: Path | None) -> Fields:
    """Which columns the tables read. Raises ModelError for what nothing tells, with how to say it."""
    if any(key.startswith(_LISTS_OF_NUMBERS) for key in tables) or config.get("discretization"):
        raise ModelError(f"{name} reads {'numbers in buckets' if config.get('discretization') else 'lists of numbers'}"
                         ", which RecPress doesn't rebuild. Export the model to ONNX or .pt2.")
    if any(table.dim() != 2 for table in tables.values()):
        raise ModelError(f"{name} has tables that are none of RecBole's. Save the model again.")
    ids, numbers = _columns(config, kept, settings)
    lists = [len(table) for table in _lists(tables)]
    rows = len(tables[_SHARED]) if _SHARED in tables else 0
    n_numbers = len(tables[_NUMBERS]) // 2 if _NUMBERS in tables else 0
    if len(numbers) != n_numbers:
        raise ModelError(f"{name} reads {n_numbers} columns of numbers, and its settings name {len(numbers)}. Name "
                         f'them in the binding: {{"answers": {{"numbers": ["…"]}}}}.')
    if not ids:
        raise ModelError(f"The settings in {name} don't say which columns its fields are (load_col). Name them in the "
                         f'binding, in the order of RecBole\'s files: {{"answers": {{"fields": ["…"]}}}}.')
    multi = _which_lists(ids, lists, name, kept, settings, vocabularies, data_folder)
    singles = [column for column in ids if column not in multi]
    sizes, note = _sizes(singles, rows, name, kept, settings, vocabularies, data_folder)
    return Fields(multi, singles, sizes, numbers, lists, [note] if note else [])


def _lists(tables: dict[str, Tensor]) -> list[Tensor]:
    return [table for key, table in tables.items() if key.startswith(_LISTS)]


def _columns(config: dict[str, Any], kept: Kept | None, settings: Settings) -> tuple[list[str], list[str]]:
    """Columns of ids and of numbers, in the order of RecBole's files."""
    numeric, label = names_in(config.get("numerical_features")), text_in(config, "LABEL_FIELD")
    if kept is not None:
        ids = [column for column, kind in kept.kinds.items() if kind in ("token", "token_seq") and column != label]
        numbers = [column for column, kind in kept.kinds.items() if kind == "float" and column in numeric]
    else:
        loaded, threshold = config.get("load_col"), config.get("threshold")
        known = [column for part in ("inter", "user", "item") for column in names_in(loaded.get(part))] \
            if isinstance(loaded, dict) else []
        known = list(dict.fromkeys(known))
        left_out = {label, text_in(config, "TIME_FIELD"), text_in(config, "RATING_FIELD"), *numeric,
                    *(threshold if isinstance(threshold, dict) else ())}
        ids = [column for column in known if column not in left_out]
        numbers = [column for column in known if column in numeric and column != label]
    said = {key: settings.answers.get(key) for key in ("fields", "numbers")}
    return (names_in(said["fields"]) or ids), (names_in(said["numbers"]) or numbers)


def _which_lists(ids: list[str], rows: list[int], name: str, kept: Kept | None, settings: Settings,
                 vocabularies: dict[str, list[str]], data_folder: Path | None) -> list[str]:
    """The columns that hold several ids a row, as said, as RecBole's dataset has them, or as the data has them."""
    if not rows:
        return []
    said = names_in(settings.answers.get("lists"))
    if not said and kept is not None:
        said = [column for column in ids if kept.kinds.get(column) == "token_seq"]
    if not said and data_folder is not None:
        said = [column for column in ids if column in _multi_columns(data_folder)]
    if not said:
        said = [column for column in ids if len(vocabularies.get(column, ())) + 1 in rows]
    found = [column for column in ids if column in said]
    if len(found) != len(rows):
        raise FieldsUntold(f"{name} reads {len(rows)} columns of several ids a row, and nothing says which of "
                           f'{", ".join(ids[:30])} they are. Name them in the binding: {{"answers": {{"lists": '
                           '["…"]}}, or upload the dataset file that RecBole saves (save_dataset: True) with the '
                           "checkpoint, or choose the data it was trained on.", ids)
    return found


def _sizes(columns: list[str], rows: int, name: str, kept: Kept | None, settings: Settings,
           vocabularies: dict[str, list[str]], data_folder: Path | None) -> tuple[list[int], str | None]:
    """Rows of each column in the table they share, and a sentence on who said it. Raises ModelError."""
    said = settings.answers.get("field_sizes")
    if said is not None:
        whole = isinstance(said, list) and all(type(one) is int and one > 0 for one in said)
        if not whole or len(said) != len(columns) or sum(said) != rows:
            raise ModelError(f"field_sizes is a list of the rows of {', '.join(columns[:30])}, which sum to {rows:,}.")
        return said, None
    if len(columns) < 2:
        return [rows] * len(columns), None
    known = kept.vocabularies if kept is not None else vocabularies
    counts = [len(known[column]) + 1 for column in columns if column in known]
    if len(counts) == len(columns) and sum(counts) == rows:
        return counts, None
    counts = _counted(columns, data_folder)
    if counts and sum(counts) == rows:
        told = ", ".join(f"{column} {count:,}" for column, count in zip(columns, counts, strict=True))
        return counts, f"How many rows of the one table each field has was told by the values in the data: {told}."
    raise FieldsUntold(f"{name} holds one table of {rows:,} rows for {', '.join(columns[:30])}, and RecBole keeps "
                       "where each begins in its dataset. Upload the dataset file it saves (save_dataset: True) or "
                       "vocabularies.json with the checkpoint, choose the data it was trained on, or say it in the "
                       'binding: {"answers": {"field_sizes": [rows of the first, …]}}.', columns)


def _multi_columns(data_folder: Path) -> set[str]:
    from compression.data.description import load_description
    from compression.spec.data_description import Role

    return {column.name for column in load_description(data_folder).columns if column.role is Role.MULTI}


def _counted(columns: list[str], data_folder: Path | None) -> list[int] | None:
    """Values of each column over all splits, and a row for padding; None where the data can't say."""
    if data_folder is None:
        return None
    import polars

    from compression.data.description import load_description
    from compression.data.ingest import read_splits
    from compression.spec.errors import DataError

    try:
        splits = list(read_splits(data_folder, load_description(data_folder)).values())
    except DataError:
        return None
    if any(column not in split.columns for split in splits for column in columns):
        return None
    return [polars.concat([split[column] for split in splits]).drop_nulls().n_unique() + 1 for column in columns]
