"""Values stay under their names, in whatever order a description lists the columns: every format, every reader."""

from __future__ import annotations

import csv
import gzip
import itertools
import json

import polars as pl
import pytest
import yaml

from compression.data.description import load_description
from compression.data.encode import load_dataset
from compression.data.ingest import read_splits, read_table
from compression.data.split_csv import export_split_csv
from compression.data.summary import summarise

ROLES = {"click": "label", "user": "user", "item": "item", "age": "number", "time": "time"}
ROWS = 60
TABLE = {"click": [k % 2 for k in range(ROWS)], "user": [f"u{k % 7}" for k in range(ROWS)],
         "item": [f"i{k % 11}" for k in range(ROWS)], "age": [20 + k for k in range(ROWS)],
         "time": [1_700_000_000 + k for k in range(ROWS)]}
SOME_ORDERS = list(itertools.permutations(ROLES))[::17]


def text(names, delimiter=",", header=True) -> str:
    lines = [delimiter.join(names)] * header
    lines += [delimiter.join(str(TABLE[name][k]) for name in names) for k in range(ROWS)]
    return "\n".join(lines) + "\n"


def write(path, form: str, names) -> None:
    """The table with its columns in the order of `names`."""
    if form == "parquet":
        pl.DataFrame({name: TABLE[name] for name in names}).write_parquet(path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps({name: TABLE[name][k] for name in names}) + "\n" for k in range(ROWS)))
    elif form == "packed":
        path.write_bytes(gzip.compress(text(names).encode()))
    elif form == "quoted":
        path.write_text(text(names).replace("u3", '"u3"'))
    else:
        delimiter = {"tsv": "\t", "two": "::", "semicolon": ";"}.get(form, ",")
        path.write_text(text(names, delimiter, header=form != "headerless"))


def described(folder, form: str, names, split="time"):
    """A folder with the description, its columns in the order of `names`."""
    content = {"name": "order", "files": {"all": "rows"}, "label": {"column": "click"}, "split": {"kind": split},
               "format": form if form in ("tsv", "parquet", "jsonl") else "csv", "header": form != "headerless",
               "columns": [{"name": name, "role": ROLES[name]} for name in names]}
    delimiter = {"two": "::", "semicolon": ";"}.get(form)
    (folder / "data.yaml").write_text(yaml.safe_dump(content | ({"delimiter": delimiter} if delimiter else {})))
    return load_description(folder)


@pytest.mark.parametrize("form", ["csv", "tsv", "two", "semicolon", "packed", "quoted", "headerless", "parquet",
                                  "jsonl"])
def test_every_column_keeps_its_values_in_any_order(form, tmp_path):
    for order in SOME_ORDERS:
        stored = order if form == "headerless" else list(ROLES)  # without a header the description has the file's order
        write(tmp_path / "rows", form, stored)
        for some in (order, order[:3] if form != "headerless" else order):
            if "click" not in some or not {"user", "item", "age"} & set(some):
                continue
            description = described(tmp_path, form, some, "time" if "time" in some else "random")
            frame = read_table(tmp_path / "rows", description)
            assert frame.columns == list(some)
            assert {name: frame[name].cast(pl.String).to_list() for name in some} == {
                name: [str(value) for value in TABLE[name]] for name in some}


@pytest.mark.parametrize(("form", "lines", "values"), [
    ("libsvm", ["1 qid:3 5:0.5 9:2", "0 qid:4 5:1.5 9:4"],
     {"label": [1.0, 0.0], "group": ["3", "4"], "x5": [0.5, 1.5], "x9": [2.0, 4.0]}),
    ("libsvm", ["1 5:1 9:1", "0 6:1 8:1"], {"label": [1.0, 0.0], "field_1": ["5", "6"], "field_2": ["9", "8"]}),
    ("lists", ["7 3 4", "8 5"], {"label": [1.0, 0.0] * 3, "user": ["7"] * 4 + ["8"] * 2, "place": [0, 0, 1, 1, 0, 0]}),
    ("candidates", ["(7,3)\t4\t5"], {"label": [1.0, 0.0, 0.0], "user": ["7"] * 3, "item": ["3", "4", "5"]}),
])
def test_formats_of_their_own_keep_values_under_their_names(form, lines, values, tmp_path):
    (tmp_path / "rows").write_text("\n".join(lines) + "\n")
    roles = {"label": "label", "group": "user", "user": "user", "item": "item", "place": "time", "x5": "number",
             "x9": "number"}
    for order in itertools.permutations(values):
        content = {"name": "order", "files": {"all": "rows"}, "label": {"column": "label"}, "format": form,
                   "split": {"kind": "random"},
                   "columns": [{"name": name, "role": roles.get(name, "category")} for name in order]}
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
        frame = read_table(tmp_path / "rows", load_description(tmp_path))
        assert frame.to_dict(as_series=False) == {name: values[name] for name in order}


def test_what_is_read_from_a_table_is_the_same_in_any_order(tmp_path):
    """Splits, arrays, summary and the download of a split, against the order of the file."""
    seen = []
    for order in (tuple(ROLES), *SOME_ORDERS):
        write(tmp_path / "rows", "csv", list(ROLES))
        described(tmp_path, "csv", order)
        splits = read_splits(tmp_path)
        dataset = load_dataset(tmp_path)
        test = dataset.splits["test"]
        summary = {one.name: one.model_dump() for one in summarise(tmp_path).columns}
        with export_split_csv(tmp_path, "test", tmp_path / "test.csv").open(newline="") as file:
            download = list(csv.DictReader(file))
        seen.append({
            "rows": {name: {column: part[column].to_list() for column in ROLES} for name, part in splits.items()},
            "users": [dataset.vocabularies["user"][row - 1] for row in test.inputs["user"]],
            "ages": test.inputs["age"].tolist(), "labels": test.label.tolist(), "summary": summary,
            "download": sorted(tuple(sorted(row.items())) for row in download)})
    first = seen[0]
    assert first["users"] == TABLE["user"][-6:] and first["labels"] == TABLE["click"][-6:]
    assert dict(first["download"][0])["item"] in TABLE["item"]
    assert all(one == first for one in seen[1:])
