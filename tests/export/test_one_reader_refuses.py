"""What the measured run would refuse, the bundle's script refuses: in a sentence, before a score is printed."""

from __future__ import annotations

import polars as pl
import pytest

from compression.spec.signature import Input, Signature
from tests.export.test_one_reader import TEXT_CASES, Scored, csv_text, ran, table, write


@pytest.fixture
def plain(tmp_path) -> Scored:
    return Scored(TEXT_CASES["plain"](tmp_path / "data"), tmp_path)


@pytest.mark.parametrize(("text", "said"), [
    ("user,item,age,tags\nu1,i1,inf,a\n", "Column 'age' holds infinity in 1 row, first in data row 1"),
    ("user,item,age,tags\nu1,i1,1,a\nu1,i1,many,a\n", "Column 'age' must hold numbers; got 'many' in data row 2"),
    ("user,item,tags\nu1,i1,a\n", "The model reads the column 'age'; rows.csv has only: user, item, tags"),
    ("user,item,age,tags,age\nu1,i1,1,a,2\n", "the column 'age'; rows.csv has the column several times"),
    ("user,item,age,tags\nu1,i1,1\n", "rows.csv: line 2 has 3 cells, but the first line has 4"),
    ('user,item,age,tags\n"u1,i1,1,a\nu2,i2,2,b,c\n', "a quote is opened and never closed"),
    ('{"user": "u1", "item": {"a": 1}}\n', "rows.csv: object 1 holds something other than single values and lists"),
    ('{"user": ["u1"], "item": "i1", "age": 1, "tags": []}\n', "Column 'user' must hold single values; got a list"),
    ("PAR1", "rows.csv is a Parquet file; predict.py reads CSV and JSON lines"),
])
def test_what_the_measured_run_would_refuse_is_refused_in_a_sentence(text, said, plain, tmp_path):
    (tmp_path / "rows.csv").write_text(text)
    done = ran(plain, tmp_path / "rows.csv")
    assert done.returncode == 2 and said in done.stderr and not done.stdout and "Traceback" not in done.stderr


def test_the_label_and_other_columns_may_be_left_out_and_stand_in_any_order(plain, tmp_path, capsys):
    rows = pl.read_csv(plain.folder / "test-rows", infer_schema=False).select("tags", "age", "item", "user")
    rows.with_columns(more=pl.lit("x")).write_csv(tmp_path / "rows.csv")
    plain.check(tmp_path / "rows.csv", capsys)


def test_mostly_unknown_values_are_reported(plain, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("user,item,age,tags\nu1,x,1,\nu2,y,1,\nu3,i1,1,\nu4,,1,\n")
    assert len(plain.predict(tmp_path / "rows.csv", capsys)) == 4
    assert plain.warned == ("Warning: 67% of the values of 'item' are not in the model's vocabulary and are scored as "
                            "unknown. Are they written as in the data the model was made for?\n")


def test_ids_beyond_the_table_are_refused_and_not_read_from_its_end(tmp_path):
    write(tmp_path / "data", *[csv_text(table({"user": ["0", "1", "2"]}))] * 2, {"label": "label", "user": "user"})
    item = Input(name="user", kind="category", column="user", cardinality=3, ids="as-is")
    scored = Scored(tmp_path / "data", tmp_path, Signature(inputs=(item,)))
    for cell, said in (("-1", "1 of 2 values lie outside 0 to 2"), ("3", "outside 0 to 2"), ("1.5", "holds fractions")):
        (tmp_path / "rows.csv").write_text(f"user\n1\n{cell}\n")
        done = ran(scored, tmp_path / "rows.csv")
        assert done.returncode == 2 and said in done.stderr and not done.stdout
