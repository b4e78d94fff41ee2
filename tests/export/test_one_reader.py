"""The bundle's script reads rows as the measured run did: every format, and cells made to be read differently."""

from __future__ import annotations

import datetime
import gzip
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from compression.data.click_log import generate_click_log
from compression.data.description import dump_description
from compression.data.encode import load_dataset
from compression.data.guess import guess_description
from compression.data.split_csv import export_split_csv
from compression.export.bundle.files import read_bundle, write_bundle
from compression.export.onnx import Exported
from compression.spec.records import Recipe, Result, RunSpec
from compression.spec.signature import Signature
from compression.testing.tiny import write_tiny_data
from tests.data.write import click_rows, write_data

N = 240
DRAW = np.random.default_rng(5)
ROLES = {"label": "label", "user": "user", "item": "item", "age": "number", "tags": "multi"}


def ran(scored: "Scored", rows: Path) -> subprocess.CompletedProcess[str]:
    """What the bundle's script says of rows."""
    return subprocess.run([sys.executable, scored.bundle / "predict.py", rows], capture_output=True, text=True)


class Scored:
    """A dataset, a model of it in an unpacked bundle, and the scores of its test rows as they are measured."""

    def __init__(self, folder: Path, scratch: Path, signature: Signature | None = None) -> None:
        self.folder, self.dataset, self.warned = folder, load_dataset(folder, signature=signature), ""
        exported = linear_model(self.dataset.signature, scratch / "model.onnx")
        spec = RunSpec(model="m", data="d", recipe=Recipe(name="r"))
        path, _ = write_bundle(scratch / "bundle.zip", exported=exported, signature=self.dataset.signature,
                               vocabularies=self.dataset.vocabularies, recipe="version: 1\n", architecture="deepfm",
                               result=Result(spec=spec, baseline=(), measurements=()),
                               description=self.dataset.description)
        self.bundle, _ = read_bundle(path, scratch / "bundle")
        session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
        inputs = self.dataset.splits["test"].inputs
        self.expected = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})[0].ravel()
        assert len(np.unique(self.expected)) > 2

    def predict(self, rows: Path, capsys) -> np.ndarray:
        """What predict.py prints, run as a module that knows nothing of RecPress's own reader."""
        for name in ("cells", "json_text", "text_file", "text_form", "predict"):
            sys.modules.pop(name, None)
        path = list(sys.path)
        try:
            spec = importlib.util.spec_from_file_location("predict", self.bundle / "predict.py")
            script = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(script)
            capsys.readouterr()
            script.main(rows)
        finally:
            sys.path[:] = path
        printed, self.warned = capsys.readouterr()
        return np.array([float(line) for line in printed.split()])

    def check(self, rows: Path, capsys) -> None:
        scores = self.predict(rows, capsys)
        assert len(scores) == len(self.expected)
        np.testing.assert_allclose(scores, self.expected, atol=1e-6)


def linear_model(signature: Signature, path: Path) -> Exported:
    """A random weight for each row of each table and for each number, and a sigmoid: every id and value counts."""
    nodes, weights, inputs, terms = [], [], [], []
    for item in signature.inputs:
        kind = TensorProto.FLOAT if item.kind == "number" else TensorProto.INT64
        shape = ["n", f"l {item.name}"] if item.kind == "multi" else ["n"]
        inputs.append(helper.make_tensor_value_info(item.name, kind, shape))
        table = DRAW.normal(0, 0.3, 1 if item.kind == "number" else item.cardinality).astype(np.float32)
        table[0] = 0 if item.kind == "multi" else table[0]  # the padding
        weights.append(numpy_helper.from_array(table, f"w {item.name}"))
        operator, given = ("Mul", [item.name, f"w {item.name}"]) if item.kind == "number" else (
            "Gather", [f"w {item.name}", item.name])
        terms.append(f"t {item.name}")
        nodes.append(helper.make_node(operator, given, terms[-1:]))
        if item.kind == "multi":
            nodes.append(helper.make_node("ReduceSum", [terms[-1], "last"], [f"s {item.name}"], keepdims=0))
            terms[-1] = f"s {item.name}"
    nodes += [helper.make_node("Sum", terms, ["logit"]), helper.make_node("Sigmoid", ["logit"], [signature.output])]
    weights.append(numpy_helper.from_array(np.array([1]), "last"))
    output = helper.make_tensor_value_info(signature.output, TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "linear", inputs, [output], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Exported.of(path)


def write(folder: Path, train: str | bytes, test: str | bytes, columns: dict[str, str], *, file: str = "rows",
          separator: str = " ", **description) -> Path:
    """A dataset of a train and a test file."""
    folder.mkdir(parents=True)
    for name, text in ((f"train-{file}", train), (f"test-{file}", test)):
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    listed = [{"name": name, "role": role} | ({"separator": separator} if role == "multi" else {})
              for name, role in columns.items()]
    content = {"name": "d", "files": {"train": f"train-{file}", "test": f"test-{file}"}, "columns": listed,
               "label": {"column": "label"}, "split": {"kind": "random"}} | description
    (folder / "data.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


def cells(values: list, count: int = N) -> list[str]:
    return [str(values[k]) for k in DRAW.integers(len(values), size=count)]


def table(odd: dict[str, list], count: int = N) -> dict[str, list[str]]:
    """Columns of cells drawn from the values, with a label of both classes."""
    return {"label": [str(k % 2) for k in range(count)]} | {name: cells(values, count) for name, values in odd.items()}


def csv_text(columns: dict[str, list[str]], delimiter: str = ",", *, header: bool = True, end: str = "\n",
             quote: Callable[[str], str] = str) -> str:
    lines = [delimiter.join(quote(name) for name in columns)] * header
    lines += [delimiter.join(quote(cell) for cell in row) for row in zip(*columns.values(), strict=True)]
    return end.join(lines) + end


def always(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def where_needed(cell: str) -> str:
    return always(cell) if any(mark in cell for mark in ',"\n\r') else cell


PLAIN = {"user": [f"u{k}" for k in range(9)] + [""], "item": ["i1", "i2", "i 3", "", "i5"],
         "age": ["1.5", "-2", "", "NA", "1e-3", "+4", " 7 ", "true", "False", ".5", "9."],
         "tags": ["a", "a b", "b  c", "", "c a b", "a b c d e"]}
def objects() -> list[dict]:
    """Rows as JSON or Python has them."""
    return [{"label": k % 2, "user": f"it's {DRAW.integers(5)}", "item": [True, False, None][k % 3],
             "age": [1, 2.5, None, -1e-7][k % 4], "tags": [["New York", "b"], [], ["c", "é"]][k % 3]}
            for k in range(N)]


def accented() -> str:
    return csv_text(table(PLAIN | {"item": ["Zürich", "Genève", "Malmö", ""]}))


def with_decimal_commas(folder: Path) -> Path:
    """The dataset, with commas in the numbers of age."""
    content = yaml.safe_load((folder / "data.yaml").read_text())
    next(one for one in content["columns"] if one["name"] == "age")["decimal"] = ","
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder


ODD_NUMBERS = ["7", "7.0", "7.00", "007", "7.", "1.10", "1.1", "1e5", "100000", "1e-07", "1e-7", "0.0000001", "1E+20",
               "1e+20", "1.0E20", "True", "true", "TRUE", "False", "false", "-0.0", "0", "10000000000000000", "1e+16",
               "2024-05-31", "2024-05-31 00:00:00", "2024-05-31T17:45:00", "2024-05-31 17:45:00.000000", "05/31/2024",
               "12/31/2023", "inf", "nan", "NaN", "null", "None", "?", "é", "e\u0301", "'-x", "-x", "=1+1", "@you",
               "[1]", "[a]", " 7", "7 ", "\u00a07", "x" * 200_000]
QUOTES = ['"open', 'in "side', '""', '"', 'plain', 'end"', '"a" b']

TEXT_CASES = {
    "plain": lambda folder: write(folder, csv_text(table(PLAIN)), csv_text(table(PLAIN)), ROLES),
    "odd categories": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"user": ODD_NUMBERS[:-9], "item": ODD_NUMBERS, "tags": [
            "7.0 7 007", "True true", "[1, 2]", "[\"New", "1e-07 1e-7"]}), quote=where_needed) for _ in range(2)),
        ROLES),
    "floats in test": lambda folder: write(
        folder, csv_text(table(PLAIN | {"user": [str(k) for k in range(9)], "item": ["true", "false", "x"]})),
        csv_text(table(PLAIN | {"user": [f"{k}.0" for k in range(9)] + [""], "item": ["True", "False", "x"]})), ROLES),
    "tabs and lone quotes": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"item": QUOTES}), "\t") for _ in range(2)), ROLES, format="tsv"),
    "a lone quote begins a file without a header": lambda folder: write(
        folder, *(csv_text({"item": []} | table(PLAIN) | {"item": ['"open', *cells(QUOTES, N - 1)]}, "\t",
                           header=False) for _ in range(2)),
        {"item": "item", "label": "label", "user": "user", "age": "number", "tags": "multi"}, format="tsv",
        header=False),
    "everything quoted": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"item": ["a,b", 'say "hi"', "two\nlines", "", "c\r\nd", "lone\rreturn"]}),
                           quote=always) for _ in range(2)), ROLES),
    "quoted where needed": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"item": ["a,b", 'say "hi"', "two\nlines", ""], "tags": ["a|b, c", "b", ""]}),
                           quote=where_needed, end="\r\n") for _ in range(2)), ROLES, separator="|"),
    "a lone carriage return": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"item": ["a\rb", "c", "d\x0be", "f\u2028g", "h\x85"]})) for _ in range(2)),
        ROLES),
    "a mark, spaces and blank lines": lambda folder: write(
        folder, *("\ufeff" + csv_text({f" {name} ": column for name, column in table(PLAIN).items()}) + "\n\n"
                  for _ in range(2)), ROLES),
    "semicolons": lambda folder: write(folder, *(csv_text(table(PLAIN), ";") for _ in range(2)), ROLES, delimiter=";"),
    "two characters between": lambda folder: write(
        folder, *(csv_text(table(PLAIN), "::", header=False) for _ in range(2)), ROLES, delimiter="::", header=False),
    "packed": lambda folder: write(
        folder, *(gzip.compress(csv_text(table(PLAIN)).encode()) for _ in range(2)), ROLES, file="rows.csv.gz"),
    "a column named in another script": lambda folder: write(
        folder, *(csv_text({"é_*`|<b>": cells(["1", "2"])} | table(PLAIN)) for _ in range(2)),
        {"é_*`|<b>": "category"} | ROLES),
    "dates as numbers": lambda folder: write(
        folder, *(csv_text(table(PLAIN | {"age": ["2024-05-31", "1969-12-31 23:59:59.25", "2001-01-01T00:00:00Z", ""]}))
                  for _ in range(2)), ROLES),
    "JSON lines": lambda folder: write(folder, *("".join(json.dumps(
        {"label": k % 2, "user": int(DRAW.integers(5)), "item": [True, False, None][k % 3],
         "age": [1, 2.5, None, -1e-7][k % 4], "tags": [["New York", "b"], [], ["c", ""], None][k % 4],
         "band": [7.0, 1.5, 1e20, 1e-7, 3][k % 5]}).replace("}", ', "band": 1.5}') + "\n" for k in range(N))
        for _ in range(2)),
        ROLES | {"band": "category"}, format="jsonl"),
    "a JSON array": lambda folder: write(folder, *(json.dumps(objects(), indent=1) for _ in range(2)), ROLES,
                                         format="jsonl"),
    "dictionaries of Python": lambda folder: write(folder, *("\n".join(map(str, objects())) for _ in range(2)), ROLES,
                                                   format="jsonl"),
    "ends by a return": lambda folder: write(folder, *(csv_text(table(PLAIN), end="\r") for _ in range(2)), ROLES),
    "Latin-1": lambda folder: write(folder, *(accented().encode("latin-1") for _ in range(2)), ROLES,
                                    encoding="latin-1"),
    "UTF-16": lambda folder: write(folder, *(accented().encode("utf-16") for _ in range(2)), ROLES, encoding="utf-16"),
    "decimal commas": lambda folder: with_decimal_commas(write(
        folder, *(csv_text(table(PLAIN | {"age": ["1,5", "-2", "", "1.234,25", "3,"]}), ";") for _ in range(2)), ROLES,
        delimiter=";")),
    "quoted decimal commas": lambda folder: with_decimal_commas(write(
        folder, *(csv_text(table(PLAIN | {"age": ['"1,5"', '"-2,25"', "", '"1.234,25"', '"0,125"', "-7"]}))
                  for _ in range(2)), ROLES)),
}


@pytest.mark.parametrize("case", TEXT_CASES)
def test_the_test_file_itself_is_scored_as_it_was_measured(case, tmp_path, capsys):
    scored = Scored(TEXT_CASES[case](tmp_path / "data"), tmp_path)
    scored.check(scored.folder / scored.dataset.description.files["test"], capsys)


def typed_frame(shift: int = 0) -> pl.DataFrame:
    """Columns of every type that a Parquet file may hold as a category, number or list."""
    start, k = datetime.datetime(2024, 5, 31), np.arange(N)
    tags = [["New York", "a"], ["b"], [], ["a", "b", "-c"], None, ["", " d "]]
    return pl.DataFrame({
        "label": k % 2, "user": [f"u{one % 9}" for one in k], "whole": (k + shift) % 5,
        "floats": pl.Series([None if one % 4 == 3 else float(one % 5) for one in k]),
        "mixed": [(7.0, 1.5, 1e20, 1e-7, 1e-5, math.nan, 2.0**53, 1e16)[one % 8] for one in k],
        "narrow": pl.Series([0.1, 1e-7, 3.0, 16777216.0] * (N // 4), dtype=pl.Float32),
        "flag": [(True, False, None)[one % 3] for one in k], "item": pl.Series([f"=i{one % 4}" for one in k]),
        "kind": pl.Series([f"-k{one % 3}" for one in k], dtype=pl.Categorical),
        "price": pl.Series([f"{one % 4}.{one % 3}0" for one in k]).cast(pl.Decimal(10, 2)),
        "day": [(start + datetime.timedelta(days=int(one % 4))).date() for one in k],
        "moment": [start + datetime.timedelta(hours=int(one % 5) * 12) for one in k],
        "nano": pl.Series([start + datetime.timedelta(microseconds=int(one % 3)) for one in k]).cast(pl.Datetime("ns")),
        "zoned": pl.Series([start + datetime.timedelta(hours=int(one % 3)) for one in k]).dt.replace_time_zone(
            "Europe/Berlin"),
        "clock": [datetime.time(int(one % 3), 30) for one in k], "age": (k * 7 % 11).astype(np.float32) / 3,
        "since": [(start + datetime.timedelta(days=int(one % 7))).date() for one in k],
        "seconds": [start + datetime.timedelta(milliseconds=int(one % 7)) for one in k], "yes": k % 3 == 0,
        "tags": [tags[one % 6] for one in k], "codes": [[float(one % 3), 2.5] for one in k]})


TYPED = {"label": "label", "user": "user", "item": "item", "age": "number", "since": "number", "seconds": "number",
         "yes": "number", "tags": "multi", "codes": "multi"}


@pytest.fixture
def parquet(tmp_path) -> Scored:
    roles = {name: TYPED.get(name, "category") for name in typed_frame().columns}
    frames = []
    for shift in range(2):
        typed_frame(shift).write_parquet(tmp_path / f"{shift}.parquet")
        frames.append((tmp_path / f"{shift}.parquet").read_bytes())
    return Scored(write(tmp_path / "data", *frames, roles, format="parquet"), tmp_path)


def test_the_download_of_a_parquet_split_is_scored_as_it_was_measured(parquet, tmp_path, capsys):
    parquet.check(export_split_csv(parquet.folder, "test", tmp_path / "test.csv"), capsys)


@pytest.mark.parametrize("tool", ["polars", "pandas"])
def test_a_parquet_table_that_another_tool_writes_as_csv_is_scored_as_it_was_measured(tool, parquet, tmp_path, capsys):
    frame = typed_frame(1)
    listed = [json.dumps(values) if values is not None else None for values in frame["tags"].to_list()]
    frame = frame.with_columns(tags=pl.Series(listed), codes=pl.Series(list(map(str, frame["codes"].to_list()))))
    if tool == "polars":
        frame.write_csv(tmp_path / "rows.csv")
    else:
        pytest.importorskip("pandas")
        frame.to_pandas().to_csv(tmp_path / "rows.csv", index=False)
    parquet.check(tmp_path / "rows.csv", capsys)


def libsvm(folder: Path) -> Path:
    lines = [f"{k % 2} {k % 7 + 1}:1 {k % 5 + 10}:1" for k in range(N)]
    return write(folder, *["\n".join(lines) + "\n"] * 2,
                 {"label": "label", "field_1": "category", "field_2": "category"}, format="libsvm", header=False)


def ranked(folder: Path) -> Path:
    lines = [f"{k % 2} qid:{k // 10} 1:{k % 7}.5 2:-{k % 3}e-05" for k in range(N)]
    return write(folder, *["\n".join(lines) + "\n"] * 2,
                 {"label": "label", "group": "user", "x1": "number", "x2": "number"}, format="libsvm", header=False)


def bag(folder: Path) -> Path:
    lines = [f"{k % 2} " + " ".join(f"{j}:1" for j in range(1, k % 4 + 2)) for k in range(N)]
    return write(folder, *["\n".join(lines) + "\n"] * 2, {"label": "label", "features": "multi"}, format="libsvm")


def lists(folder: Path) -> Path:
    lines = [f"{k} " + " ".join(str(item) for item in DRAW.integers(20, size=k % 5 + 3)) for k in range(40)]
    return write(folder, *["\n".join(lines) + "\n"] * 2, {"label": "label", "user": "user", "item": "item"},
                 format="lists")


def guessed(folder: Path) -> Path:
    folder.mkdir()
    (folder / "rows.csv").write_text(csv_text(table(PLAIN)))
    (folder / "data.yaml").write_text(dump_description(guess_description(folder / "rows.csv", "d")))
    return folder


def queries(folder: Path) -> Path:
    text = csv_text(table({"age": ["1", "2", "3"]}))
    write(folder, text, text, {"group": "user", "label": "label", "age": "number"},
          companions={"train-rows": "train.query", "test-rows": "test.query"})
    for name in ("train.query", "test.query"):
        (folder / name).write_text("10\n" * (N // 10))
    return folder


OTHER_CASES = {
    "tiny": write_tiny_data, "small": lambda folder: (folder.mkdir(), write_data(folder, click_rows(N)))[1],
    "generated": lambda folder: generate_click_log(folder, rows=2000), "libsvm": libsvm, "ranked": ranked, "bag": bag,
    "lists": lists, "guessed": guessed, "queries": queries, **TEXT_CASES,
}


@pytest.mark.parametrize("case", OTHER_CASES)
def test_the_download_of_a_split_is_scored_as_it_was_measured(case, tmp_path, capsys):
    scored = Scored(OTHER_CASES[case](tmp_path / "data"), tmp_path)
    scored.check(export_split_csv(scored.folder, "test", tmp_path / "test.csv"), capsys)


def with_history(folder: Path) -> Path:
    lines = [f"{k % 3 % 2},u{k % 7},i{k % 11},{k // 2}" for k in range(N)]
    text = "label,user,item,time\n" + "\n".join(lines) + "\n"
    roles = {"label": "label", "user": "user", "item": "item", "time": "time", "past": "multi"}
    return write(folder, text, text, roles,
                 history={"column": "past", "last": 3})


def test_a_history_is_read_where_the_rows_have_it_and_else_said_to_be_missing(tmp_path, capsys):
    scored = Scored(with_history(tmp_path / "data"), tmp_path)
    scored.check(export_split_csv(scored.folder, "test", tmp_path / "test.csv"), capsys)
    done = ran(scored, scored.folder / "test-rows")
    assert done.returncode == 2 and "It is the last 3 items that the user chose before the row" in done.stderr
