"""What later stages can't do is refused when a dataset is described or imported, before anything is trained."""

from __future__ import annotations

import json

import pytest

from compression.data.bounds import MAX_NAME_CHARS
from compression.data.description import load_description, make_description
from compression.data.encode import load_dataset
from compression.data.summary import summarise
from compression.models.files import _check_signature
from compression.spec.errors import DataError
from compression.spec.signature import MAX_INPUTS, Input, Signature
from tests.data.write import click_rows, write_data


def described(*names, role="number", others=()):
    columns = [{"name": "click", "role": "label"}, *({"name": name, "role": role} for name in names), *others]
    return make_description({"name": "d", "files": {"all": "x.csv"}, "label": {"column": "click"}, "columns": columns,
                             "split": {"kind": "random"}})


def test_as_many_columns_may_be_inputs_as_a_saved_model_may_have():
    names = [f"f{k}" for k in range(MAX_INPUTS)]
    ignored = [{"name": f"i{k}", "role": "ignore"} for k in range(500)]
    assert len(described(*names, others=ignored).columns) == MAX_INPUTS + 501
    _check_signature(Signature(inputs=[Input(name=name, kind="number", column=name) for name in names]), "config.json")
    with pytest.raises(DataError, match=r"1,001 columns are inputs; a model has at most 1,000\. Give the others"):
        described(*names, "one more")


@pytest.mark.parametrize(("name", "sentence"), [
    ("", "a column without a name can't be an input"), ("  ", "a column without a name can't be an input"),
    ("x" * (MAX_NAME_CHARS + 1), "has a name of 201 characters; at most 200"), ("a\nb", "line break"),
    ("a\0b", "line break"), ("\ud83d", "half a character")])
def test_a_name_that_no_file_can_carry_is_refused_for_an_input_and_harmless_elsewhere(name, sentence):
    with pytest.raises(DataError, match=sentence):
        described("age", name)
    assert described("age", others=[{"name": name, "role": "ignore"}])


def test_a_description_written_as_json_may_hold_an_emoji(tmp_path):
    content = {"name": "d😀", "files": {"all": "x.csv"}, "label": {"column": "click"}, "split": {"kind": "random"},
               "columns": [{"name": "click", "role": "label"}, {"name": "mood😀", "role": "category"}]}
    (tmp_path / "data.yaml").write_text(json.dumps(content))
    found = load_description(tmp_path)
    assert found.columns[1].name == "mood😀" and found.name == "d😀"


def with_age(folder, row, value, **options):
    rows = click_rows(300)
    rows[row][3] = value
    return write_data(folder, rows, **options)


@pytest.mark.parametrize("read", [summarise, load_dataset])
@pytest.mark.parametrize(("row", "value", "sentence"), [
    (0, "1e39", r"Column 'age' \(number\) holds 1e\+39 in 1 row, first in data row 1\. Numbers from -3e\+38 to 3e\+38"),
    (299, "-1e300", r"holds -1e\+300 in 1 row"), (5, "inf", "holds infinity in 1 row, first in data row 6"),
    (299, "1e20", r"holds a value in row 30 of test that lies 7e\+18 standard deviations from the mean of train"),
    (299, "-1e12", r"in row 30 of test that lies 7e\+10 standard deviations"),
    (250, "1e20", "of valid that lies")])
def test_a_number_beyond_all_bounds_is_refused_at_import_and_before_training(read, row, value, sentence, tmp_path):
    with pytest.raises(DataError, match=sentence):
        read(with_age(tmp_path, row, value, split={"kind": "time"}))


@pytest.mark.parametrize(("row", "value"), [(0, "1e38"), (0, "-1e20"), (299, "1e9"), (299, "")])
def test_extreme_numbers_that_a_model_can_read_are_taken(row, value, tmp_path):
    folder = with_age(tmp_path, row, value, split={"kind": "time"})
    summarise(folder)
    assert all(abs(rows.inputs["age"]).max() < 1e9 for rows in load_dataset(folder).splits.values())
