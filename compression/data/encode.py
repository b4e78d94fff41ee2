"""Raw rows into the arrays a model reads: vocabularies, transforms, ids.

Vocabularies and transforms are fitted on train rows only. A vocabulary is ordered by falling frequency,
then by value, so low ids are frequent ones and the order never depends on the file's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from compression.data.bounds import check_read_values
from compression.data.cells import row_numbers, signed_log, transformed
from compression.data.columns import categories, multi_values, numbers, spelled_once, texts
from compression.data.dataset import Dataset, Rows
from compression.data.description import load_description
from compression.data.ingest import SPLITS, label_of, read_splits, weight_of
from compression.data.vocabulary import Vocabulary
from compression.spec.data_description import Column, DataDescription, Role
from compression.spec.errors import DataError
from compression.spec.signature import Input, Signature
from compression.spec.task import TASKS

MOSTLY = 0.5  # share of unknown values above which a person is warned
MAX_LENGTH = 50  # values of a multi cell that are kept when the length is fitted
SKEWED = 2.0  # |skewness| from which a number is log-transformed
INPUT_ROLES = (Role.USER, Role.ITEM, Role.CATEGORY, Role.NUMBER, Role.MULTI)


def load_dataset(folder: Path, *, signature: Signature | None = None,
                 vocabularies: dict[str, list[str]] | None = None,
                 description: DataDescription | None = None) -> Dataset:
    """The dataset of a folder (data.yaml and the files it names), encoded.

    Without a signature, inputs, vocabularies and transforms are fitted on the train rows. With one, rows
    are encoded as that model needs them: its inputs, its vocabularies (column → values), its transforms.
    A `description` takes the place of the folder's own.
    Raises DataError: everything `read_splits` raises, a column that the model reads and the data lacks, a
    vocabulary that is absent or longer than its table, an as-is id outside [0, V).
    """
    folder = Path(folder)
    description = description or load_description(folder)
    splits = read_splits(folder, description)
    if signature is None:
        signature, vocabularies = fit(splits["train"], description)
    else:
        vocabularies = _of_model(signature, vocabularies or {}, description)
    columns = {column.name: column for column in description.columns}
    groups = _user_groups(splits, description)
    ids = {name: Vocabulary(name, values) for name, values in vocabularies.items()}
    lengths = _lengths(splits, columns, signature)
    encoded, unknown = {}, {}
    for split in SPLITS:
        frame = splits.pop(split)
        inputs = {}
        for item in signature.inputs:
            arrays = [_encode(frame, columns[single.column], single, ids.get(single.column), lengths.get(single.name),
                              split, unknown) + single.offset for single in item.singles]
            inputs[item.name] = np.stack(arrays, axis=1) if item.parts else arrays[0]
        encoded[split] = Rows(inputs, label_of(frame, description), groups.get(split),
                              weight_of(frame, description))
    for item in signature.singles:
        if item.kind == "number" and item.transform != "none" and item.name in encoded["train"].inputs:
            check_read_values(item.column, {split: rows.inputs[item.name] for split, rows in encoded.items()})
    return Dataset(description, signature, vocabularies, encoded, _unknown_words(unknown, vocabularies))


def fit(train: pl.DataFrame, description: DataDescription) -> tuple[Signature, dict[str, list[str]]]:
    """The signature and vocabularies that train rows give, an input for every column that is a feature."""
    inputs, vocabularies = [], {}
    for column in description.columns:
        if column.role not in INPUT_ROLES:
            continue
        if column.role is Role.NUMBER:
            transform, mean, std = fit_transform(numbers(train[column.name], what=_what(column)))
            inputs.append(Input(name=column.name, kind="number", column=column.name, transform=transform, mean=mean,
                                std=std, dtype="float32"))
            continue
        lists = _lists(train, column) if column.role is Role.MULTI else None
        values = categories(train[column.name], what=_what(column)) if lists is None else spelled_once(lists.explode())
        vocabularies[column.name] = fit_vocabulary(values, min_count=description.min_count)
        cardinality = len(vocabularies[column.name]) + 1
        if lists is None:
            inputs.append(Input(name=column.name, kind="category", column=column.name, cardinality=cardinality))
        else:
            longest = min(max(int(lists.list.len().max() or 1), 1), MAX_LENGTH)
            inputs.append(Input(name=column.name, kind="multi", column=column.name, cardinality=cardinality,
                                max_length=longest))
    form = TASKS[description.task].output_form
    return Signature(inputs=tuple(inputs), output_form=form, task=description.task), vocabularies


def fit_vocabulary(values: pl.Series, *, min_count: int = 1) -> list[str]:
    """The distinct values with at least `min_count` rows, by falling frequency, then by value."""
    counts = values.drop_nulls().alias("value").to_frame().group_by("value").len()
    kept = counts.filter(pl.col("len") >= min_count).sort(["len", "value"], descending=[True, False])
    return kept["value"].to_list()


def fit_transform(values: np.ndarray) -> tuple[str, float, float]:
    """(transform, mean, std) for (N,) numbers with NaN where missing: log where |skewness| > 2, else standardize."""
    present = values[~np.isnan(values)]
    if not len(present):
        return "standardize", 0.0, 1.0
    transform = "standardize"
    deviation = present.std()
    if deviation > 0 and abs((((present - present.mean()) / deviation) ** 3).mean()) > SKEWED:
        transform, present = "log", signed_log(present)
    deviation = float(present.std())
    return transform, float(present.mean()), deviation if deviation > 1e-12 else 1.0


def transform_numbers(values: np.ndarray, item: Input) -> np.ndarray:
    """(N,) float64 with NaN where missing → (N,) float32 as the input declares; missing becomes 0."""
    return transformed(values, transform=item.transform, mean=item.mean, std=item.std)


def _encode(frame: pl.DataFrame, column: Column, item: Input, ids: Vocabulary | None, length: int | None,
            split: str, unknown: dict[tuple[str, str], float]) -> np.ndarray:
    """One input's array for the rows of a split; the share of values that are unknown goes into `unknown`."""
    if item.kind == "number":
        return transform_numbers(numbers(frame[column.name], what=_what(column)), item)
    if item.kind == "category":
        if item.ids == "as-is":
            return _in_range(numbers(frame[column.name], what=_what(column)), item, column, split)
        values = texts(frame[column.name], what=_what(column))
        found = ids.rows(values)
        unknown[split, column.name] = _share(found, values)
        return np.maximum(found - (1 - item.first_id), 0)
    lists = _lists(frame, column)
    rows = np.repeat(np.arange(len(lists)), lists.list.len().to_numpy())
    values = lists.filter(lists.list.len() > 0).explode()
    if item.ids == "as-is":
        found = _in_range(numbers(values, what=_what(column)), item, column, split)
    else:
        found = ids.rows(values)
        unknown[split, column.name] = _share(found, values)
    return _pad(found, rows, len(lists), length, with_zeros=bool(item.length_of))


def _share(rows: np.ndarray, values: pl.Series) -> float:
    """Of the values that are not missing, the share without a row."""
    present = len(values) - values.null_count()
    return float((rows == 0).sum() - values.null_count()) / present if present else 0.0


def _unknown_words(unknown: dict[tuple[str, str], float], vocabularies: dict[str, list[str]]) -> tuple[str, ...]:
    """A sentence for each column of which most values of valid or test are unknown."""
    return tuple(f"{share:.0%} of the {split} values of '{column}' are unknown to the model: they are not among the "
                 f"{len(vocabularies[column]):,} values that it knows, such as '{vocabularies[column][0][:40]}'. Check "
                 "that the column is written alike in all files, and that this is the data the model was made for."
                 for (split, column), share in unknown.items()
                 if split != "train" and share > MOSTLY and vocabularies[column])


def _pad(ids: np.ndarray, rows: np.ndarray, n_rows: int, length: int, *, with_zeros: bool = False) -> np.ndarray:
    """Ids with the row of each → (N, L) int64, the first L known ids of each row, then zeros.

    `with_zeros`: a zero in the list is a value of its own, as in a mask, and keeps its place.
    """
    known = ids >= 0 if with_zeros else ids > 0
    ids, rows = ids[known], rows[known]
    place = np.arange(len(ids)) - np.searchsorted(rows, rows)  # rows are sorted: where within its row
    fits = place < length
    padded = np.zeros((n_rows, length), np.int64)
    padded[rows[fits], place[fits]] = ids[fits]
    return padded


def _in_range(values: np.ndarray, item: Input, column: Column, split: str) -> np.ndarray:
    return row_numbers(values, item.cardinality, column=column.name, name=item.name, of=f"{split} ")


def _of_model(signature: Signature, vocabularies: dict[str, list[str]],
              description: DataDescription) -> dict[str, list[str]]:
    """The model's vocabularies that its inputs need. Raises DataError where data and model don't fit."""
    there = [column.name for column in description.columns]
    for item in signature.singles:
        if item.column not in there:
            shown = ", ".join(f"'{name}'" for name in there[:20])
            raise DataError(f"The model reads the column '{item.column}' (input '{item.name}', {item.kind}), which "
                            f"'{description.name}' does not have; it has: {shown}. Choose data with this column, or "
                            "bind the input to another one.")
        if item.kind == "number" or item.ids == "as-is":
            continue
        if item.column not in vocabularies:
            raise DataError(f"The model has no vocabulary for the column '{item.column}' (input '{item.name}'), so its "
                            "values can't become ids. Upload the model with its vocabularies.json, or set ids: as-is "
                            "where the column already holds row numbers.")
        if item.cardinality and len(vocabularies[item.column]) + item.first_id > item.cardinality:
            raise DataError(f"The vocabulary of '{item.column}' has {len(vocabularies[item.column]):,} values, but "
                            f"the table of the input '{item.name}' has {item.cardinality:,} rows"
                            f"{', of which row 0 is for unknown' * item.first_id}. Use the vocabulary the model was "
                            "trained with.")
    used = {item.column for item in signature.singles if item.kind != "number" and item.ids == "vocabulary"}
    return {column: values for column, values in vocabularies.items() if column in used}


def _user_groups(splits: dict[str, pl.DataFrame], description: DataDescription) -> dict[str, np.ndarray]:
    """(N,) int64 a split: rows of equal users share a number, in all splits the same one."""
    columns = description.by_role(Role.USER)
    if not columns:
        return {}
    users = [categories(splits[split][columns[0].name], what=_what(columns[0])) for split in SPLITS]
    values = pl.concat(users)
    codes = values.rank("dense").cast(pl.Int64).to_numpy(writable=True).astype(np.float64)
    alone = np.isnan(codes)
    start = 0 if alone.all() else int(np.nanmax(codes)) + 1
    codes[alone] = start + np.arange(alone.sum())
    edges = np.cumsum([len(user) for user in users])[:-1]
    return dict(zip(SPLITS, np.split(codes.astype(np.int64), edges), strict=True))


def _lengths(splits: dict[str, pl.DataFrame], columns: dict[str, Column], signature: Signature) -> dict[str, int]:
    """Input → places of its lists: as many as the model reads, but under a mask no more than the longest text has.

    A list and its mask stay equally long. A list of fixed length, or without a mask, keeps all its places.
    """
    lists = [item for item in signature.singles if item.kind == "multi"]
    lengths = {item.name: item.max_length or _longest(splits, columns[item.column]) for item in lists}
    for text in {item.length_of for item in lists} & set(lengths):
        group = [item for item in lists if text in (item.name, item.length_of)]
        if not any(item.fixed_length for item in group):
            longest = max(_longest(splits, columns[item.column]) for item in group)
            lengths |= {item.name: min(lengths[item.name], longest) for item in group}
    return lengths


def _longest(splits: dict[str, pl.DataFrame], column: Column) -> int:
    return max(1, max(int(_lists(frame, column).list.len().max() or 1) for frame in splits.values()))


def _lists(frame: pl.DataFrame, column: Column) -> pl.Series:
    return multi_values(frame[column.name], separator=column.separator, what=_what(column))


def _what(column: Column) -> str:
    return f"Column '{column.name}' ({column.role})"
