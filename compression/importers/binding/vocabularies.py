"""Which row of a table a value of a column stands for: uploaded lists and mappings, lists built from data, or numbers.

A person says it for each column as `from` in the binding: "as-is" (the column holds row numbers), "data" (the sorted
values of the data, as scikit-learn's LabelEncoder and pandas' categories number them), "file" (vocabularies.json), or
"file:KEY" (a mapping value → row number in any uploaded JSON). "bundle" stands for what isn't said: the file was
exported here, and its bundle numbers the values. `prepare` turns that into lists and a binding. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from compression.data.columns import categories, numbers
from compression.data.description import load_description
from compression.data.encode import fit_transform
from compression.data.ingest import read_splits
from compression.importers.beside import mappings_in
from compression.importers.format_sniffing import is_checkpoint_name
from compression.spec.errors import ModelError

AS_IS, DATA, FILE, BUNDLE = "as-is", "data", "file", "bundle"


def ordered(mapping: dict[str, int], name: str) -> tuple[list[str], int]:
    """(values in the order of their rows, row of the first). Raises ModelError unless rows run from 0 or 1 without gap.
    """
    values = sorted(mapping, key=mapping.__getitem__)
    first = mapping[values[0]]
    if first not in (0, 1) or [mapping[value] for value in values] != list(range(first, first + len(values))):
        raise ModelError(f"The mapping {name!r} must number its {len(values):,} values from 0 or 1 on without gaps and "
                         f"repeats; it goes from {first:,} to {mapping[values[-1]]:,}. Write it so, or use the ids as "
                         "they are.")
    return values, first


def no_bundle(what: str) -> str:
    """Why an input of a file that was exported here can't be bound yet, and what helps."""
    return (f"This file was exported by RecPress and {what} as its bundle says: row 0 is for unknown values, the rows "
            "after it are those of its vocabulary, and numbers are scaled. Any other numbering gives other scores. "
            "Upload the bundle's zip, or its signature.json and vocabularies.json beside the file.")


def no_mapping(key: str, column: str, mappings: Iterable[str]) -> ModelError:
    return ModelError(f"No uploaded JSON has the mapping {key!r} for the column {column!r}, and no checkpoint has it; "
                      f"there are: {', '.join(mappings) or 'none'}. Upload it, or choose another.")


def values_of(frame: pl.DataFrame, column: str) -> list[str]:
    """The distinct values of a column in order: as numbers where all are, else as text."""
    values = categories(frame[column], what=f"Column '{column}'").drop_nulls().unique()
    as_numbers = values.cast(pl.Float64, strict=False)
    if not as_numbers.null_count():
        return values.to_frame("value").sort(as_numbers)["value"].to_list()
    return values.sort().to_list()


def _texts(splits: dict[str, pl.DataFrame], column: str) -> pl.DataFrame:
    """The column of all splits as text: files may store it in different types."""
    return pl.concat([categories(part[column], what=f"Column '{column}'").to_frame() for part in splits.values()])


def prepare(binding: dict[str, Any], files: dict[str, Path], data_folder: Path
            ) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """(binding as `bind` takes it, vocabularies by column) of one that says `from` and `scale`. Raises ModelError.

    `scale` lists the number columns that are read standardized (log first where they are skewed), fitted on train.
    A key that no JSON has is left in `from` where a checkpoint came, which may hold mappings of its own: it is opened
    in the sandbox alone.
    """
    has_checkpoint = any(map(is_checkpoint_name, files))
    mappings: dict[str, dict[str, int]] = {}
    for name, path in sorted(files.items()):
        if name.lower().endswith(".json"):
            mappings |= mappings_in(path)
    found: dict[str, list[str]] = {}
    splits: dict[str, pl.DataFrame] = {}
    inputs = {}
    for name, choice in binding.get("inputs", {}).items():
        choice = dict(choice)
        sources, scaled = choice.pop("from", {}), choice.pop("scale", [])
        if (DATA in sources.values() or scaled) and not splits:
            splits = read_splits(data_folder, load_description(data_folder))
        first_ids = {}
        for column, source in sources.items():
            if source == BUNDLE:
                raise ModelError(no_bundle(f"reads {name}"))
            if source == DATA:
                found[column], first_ids[column] = values_of(_texts(splits, column), column), 0
            elif source.startswith(f"{FILE}:"):
                key = source.split(":", 1)[1]
                if key not in mappings and has_checkpoint:
                    choice.setdefault("from", {})[column] = source
                    continue
                if key not in mappings:
                    raise no_mapping(key, column, mappings)
                found[column], first_ids[column] = ordered(mappings[key], key)
        if first_ids:
            choice["first_id"] = first_ids
        if set(sources.values()) == {AS_IS}:
            choice["ids"] = AS_IS
        if scaled:
            fits = {column: fit_transform(numbers(splits["train"][column], what=f"Column '{column}' (number)"))
                    for column in scaled}
            for place, key in enumerate(("transform", "mean", "std")):
                choice[key] = {column: fit[place] for column, fit in fits.items()}
        inputs[name] = choice
    return {**binding, "inputs": inputs}, found
