"""The YAML beside the data: read with care, every problem a sentence."""

from __future__ import annotations

import pytest
import yaml

from compression.data.description import dump_description, file_path, load_description
from compression.spec.errors import DataError
from tests.data.write import COLUMNS, write_data


def refused(tmp_path, text: str) -> str:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_description(tmp_path)
    return str(caught.value)


def changed(**changes) -> str:
    content = {"name": "clicks", "files": {"all": "clicks.csv"}, "label": {"column": "click"}, "columns": COLUMNS}
    return yaml.safe_dump(content | changes)


def test_a_description_comes_back_equal_from_its_yaml(tmp_path):
    description = load_description(write_data(tmp_path, delimiter=";", terms="Ask first: it's “ours”.", min_count=3))
    (tmp_path / "data.yaml").write_text(dump_description(description), encoding="utf-8")
    assert load_description(tmp_path) == description


def test_a_folder_without_a_description_says_what_is_needed(tmp_path):
    with pytest.raises(DataError, match=r"There is no data\.yaml in "):
        load_description(tmp_path)


def test_broken_yaml_is_named_with_its_line(tmp_path):
    text = refused(tmp_path, "name: x\nfiles: [a\n")
    assert text.startswith("data.yaml can't be read: line 3, column 1: not valid YAML:")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "plain"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text):
    assert "data.yaml must be a YAML mapping" in refused(tmp_path, text)


def test_aliases_and_tags_are_refused(tmp_path):
    bomb = "a: &a [x,x]\nb: &b [*a,*a]\n"
    assert "line 1, column 4: anchors (&name) are not allowed" in refused(tmp_path, bomb)
    assert "tags (!name) are not allowed" in refused(
        tmp_path, "name: !!python/object/apply:os.getcwd []\n")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    assert "the key 'name' is given twice" in refused(tmp_path, "name: a\nname: b\n")


def test_very_deep_yaml_is_refused(tmp_path):
    assert "data.yaml" in refused(tmp_path, "[" * 5000)


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path):
    assert "The key 'colums' is unknown; known keys: version, name, files, format" in refused(
        tmp_path, changed(colums=[]))


def test_a_missing_key_is_named(tmp_path):
    content = yaml.safe_load(changed())
    del content["label"]
    assert refused(tmp_path, yaml.safe_dump(content)) == "data.yaml: 'label' is missing. Add it."


def test_an_unknown_role_is_named_with_the_allowed_ones(tmp_path):
    text = refused(tmp_path, changed(columns=[*COLUMNS[:-1], {"name": "time", "role": "clock"}]))
    assert "'columns.5.role' must be one of 'label', 'user', 'item', 'time', 'category', 'number', 'multi'" in text
    assert "got 'clock'" in text


def test_a_bound_that_is_broken_is_named(tmp_path):
    assert "'split.test': input should be less than or equal to 0.4; got 0.9." in refused(
        tmp_path, changed(split={"test": 0.9}))


def test_a_task_that_nothing_knows_is_refused_with_the_allowed_ones(tmp_path):
    with pytest.raises(DataError, match="'task' must be one of 'ctr'; got 'regression'"):
        load_description(write_data(tmp_path, task="regression"))


def test_a_seed_below_zero_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'split.seed': .*greater than or equal to 0; got -1"):
        load_description(write_data(tmp_path, split={"kind": "random", "seed": -1}))


@pytest.mark.parametrize("name", ["../other.csv", "/etc/passwd", "a/../../b.csv", "..\\x.csv", "C:\\x.csv", ""])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    assert f"the file '{name}' leaves the dataset's folder" in refused(tmp_path, changed(files={"all": name}))


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    (tmp_path / "outside.csv").write_text("secret")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(DataError, match=r"'link.csv' in data.yaml leaves the dataset's folder"):
        file_path(tmp_path / "inside", "link.csv")


def test_a_file_that_is_absent_is_named_with_those_there_are(tmp_path):
    write_data(tmp_path)
    with pytest.raises(DataError, match=r"'rows.csv', named in data.yaml, .* it has: 'clicks.csv'"):
        file_path(tmp_path, "rows.csv")


def test_columns_named_twice_are_refused(tmp_path):
    assert "columns must have different names; named more than once: 'user'" in refused(
        tmp_path, changed(columns=[*COLUMNS, {"name": "user", "role": "category"}]))


def test_the_label_must_be_among_the_columns(tmp_path):
    assert "label.column is 'bought', so exactly that column must have the role label" in refused(
        tmp_path, changed(label={"column": "bought"}))


def test_a_second_user_column_is_refused(tmp_path):
    assert "at most 1 column may have the role user; got 'user', 'visitor'" in refused(
        tmp_path, changed(columns=[*COLUMNS, {"name": "visitor", "role": "user"}]))


def test_a_description_without_inputs_is_refused(tmp_path):
    assert "no column is an input" in refused(tmp_path, changed(columns=[COLUMNS[0], COLUMNS[-1]]))


@pytest.mark.parametrize(("changes", "said"), [
    ({"files": {"train": "a.csv"}}, "files must name 'all', or 'train' and 'test'"),
    ({"files": {"train": "a.csv", "test": "a.csv"}}, "two splits name the same file"),
    ({"split": {"kind": "given"}}, "split.kind is given, but there is one file"),
    ({"split": {"kind": "time"}, "columns": COLUMNS[:-1]}, "split.kind is time, but no column has the role time"),
    ({"split": {"kind": "user"}, "columns": [COLUMNS[0], *COLUMNS[2:]]}, "split.kind is user, but no column has the "
                                                                          "role user"),
    ({"split": {"valid": 0.4, "test": 0.4}}, "must leave at least 0.3 of the rows for train; got 0.4 + 0.4"),
])
def test_files_and_split_must_fit_together(tmp_path, changes, said):
    assert said in refused(tmp_path, changed(**changes))
