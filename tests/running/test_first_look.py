"""An imported model is measured at once beside a constant and a regression, and a wrong binding is told in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compression.data.description import dump_description
from compression.data.guess import guess_description
from compression.importers.beside import mappings_in
from compression.importers.binding.vocabularies import ordered, prepare, values_of
from compression.importers.reader import read_upload
from compression.running.first_look import first_look
from tests.data.write import write_data
from tests.importers.graphs import export, files_of
from ui.models.first_look import quality_rows

COLUMNS = [{"name": "click", "role": "label"}, {"name": "u", "role": "user"}, {"name": "i", "role": "item"}]
USERS, ITEMS = 40, 30
BOTH = {"inputs": {"a": {"column": "u"}, "b": {"column": "i"}}}


class Product(nn.Module):
    """A stranger's matrix factorisation that knows the truth of the planted log."""

    def __init__(self, users, items):
        super().__init__()
        self.user, self.item = (nn.Embedding.from_pretrained(torch.tensor(table)) for table in (users, items))

    def forward(self, a, b):
        return (self.user(a) * self.item(b)).sum(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of the data, files of the model); ids in the file are 10 more than the rows they stand for."""
    folder, draw = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    users, items = (draw.normal(0, 1.2, (count, 3)).astype(np.float32) for count in (USERS, ITEMS))
    user, item = draw.integers(0, USERS, 4000), draw.integers(0, ITEMS, 4000)
    click = draw.random(4000) < 1 / (1 + np.exp(-(users[user] * items[item]).sum(1)))
    rows = [[str(int(c)), str(u), str(i)] for c, u, i in zip(click, user, item, strict=True)]
    write_data(folder, text="click,u,i\n" + "\n".join(map(",".join, rows)) + "\n", columns=COLUMNS,
               split={"kind": "random"})
    arguments = {name: torch.zeros(3, dtype=torch.int64) for name in ("a", "b")}
    return folder, files_of(export(Product(users, items), arguments, folder / "model" / "mf.onnx"))


def looked(made, tmp_path, binding, **extra):
    data, files = made
    tmp_path.mkdir(exist_ok=True)
    read_upload(files | extra, tmp_path / "imported", data_folder=data, binding=binding)
    return first_look(tmp_path / "imported", data, scratch=tmp_path / "scratch", report=lambda progress: None)


@pytest.mark.slow
def test_a_model_bound_rightly_beats_both_and_raises_no_doubt(made, tmp_path):
    found = looked(made, tmp_path, BOTH)
    auc = {line.name: line.find("auc").value for line in found.lines}
    assert auc["This model"] > 0.75 and auc["Constant"] == 0.5
    assert auc["This model"] > auc["Logistic regression"]
    assert found.hints == () and found.rows == 400
    rows, keys = quality_rows(found.model_dump(mode="json"))
    assert keys[0] == "auc" and [row["On the test rows"] for row in rows] == list(auc)


@pytest.mark.slow
def test_a_model_of_swapped_columns_is_no_better_than_a_constant_and_that_is_said(made, tmp_path):
    swapped = {"inputs": {"a": {"column": "i"}, "b": {"column": "i"}}}
    found = looked(made, tmp_path, swapped)
    assert any("The binding is probably wrong: check which column" in hint for hint in found.hints), found


@pytest.mark.slow
def test_ids_beyond_the_table_are_a_sentence_and_the_model_is_kept(made, tmp_path):
    swapped = {"inputs": {"a": {"column": "i"}, "b": {"column": "u"}}}
    found = looked(made, tmp_path, swapped)
    assert found.lines == () and "holds ids beyond the table of the input 'b'" in found.problem
    assert "largest 39" in found.problem and (tmp_path / "imported" / "model.onnx").is_file()


@pytest.mark.slow
def test_a_mapping_from_an_uploaded_json_numbers_the_tables(made, tmp_path):
    mapping = tmp_path / "metadata.json"
    mapping.write_text(json.dumps({"n_users": USERS, "user2idx": {str(k): k for k in range(USERS)}}))
    given = {"inputs": {"a": {"column": "u", "from": {"u": "file:user2idx"}},
                        "b": {"column": "i", "from": {"i": "data"}}}}
    binding, built = prepare(given, {"metadata.json": mapping}, made[0])
    assert binding["inputs"]["a"]["first_id"] == {"u": 0} and built["u"] == [str(k) for k in range(USERS)]
    assert built["i"] == [str(k) for k in range(ITEMS)]  # sorted as numbers, not as text
    written = tmp_path / "vocabularies.json"
    written.write_text(json.dumps(built))
    found = looked(made, tmp_path, binding, **{"vocabularies.json": written})
    assert found.lines[0].find("auc").value == looked(made, tmp_path / "b", BOTH).lines[0].find("auc").value


def test_a_mapping_with_gaps_is_refused(tmp_path):
    from compression.spec.errors import ModelError

    (tmp_path / "a.json").write_text(json.dumps({"x": 0, "y": 2}))
    with pytest.raises(ModelError, match="without gaps"):
        ordered(mappings_in(tmp_path / "a.json")["a"], "a")


@pytest.mark.parametrize("text", ['{"a": ["x", "x", "y"]}', '{"a": [1, "1", 2]}', '{"a": {"x": 0, "x": 1, "y": 2}}',
                                  '{"x": 0, "x": 1, "y": 2}'])
def test_what_names_a_value_twice_is_no_mapping(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    assert mappings_in(tmp_path / "a.json") == {}


def test_values_of_splits_stored_in_different_types_are_listed_once(tmp_path):
    import polars as pl

    frame = pl.DataFrame({"click": [0, 1] * 10, "item": [k % 3 for k in range(20)]})
    frame.write_parquet(tmp_path / "train.parquet")
    frame.cast(pl.Float64).write_parquet(tmp_path / "test.parquet")
    columns = [{"name": "click", "role": "label"}, {"name": "item", "role": "item"}]
    write_data(tmp_path, files={"train": "train.parquet", "test": "test.parquet"}, columns=columns, format="parquet",
               split={"kind": "random"})
    binding = {"inputs": {"i": {"columns": ["item"], "from": {"item": "data"}}}}
    assert prepare(binding, {}, tmp_path)[1] == {"item": ["0", "1", "2"]}


def test_values_of_words_are_sorted_as_words():
    import polars as pl

    assert values_of(pl.DataFrame({"x": ["b", "a", None, "b"]}), "x") == ["a", "b"]


@pytest.mark.realdata
def test_a_published_gmf_reaches_its_published_hit_rate_and_ndcg(tmp_path):
    source = Path(__file__).parents[1] / "../shared/data/models/ncf_gmf_pytorch"
    if not source.is_dir():
        pytest.skip("shared/data/models/ncf_gmf_pytorch is not beside the project")
    data = tmp_path / "data"
    data.mkdir()
    shutil.copyfile(source / "ml-1m.test.negative", data / "ml-1m.test.negative")
    (data / "data.yaml").write_text(dump_description(guess_description(data / "ml-1m.test.negative", "ncf")))
    read_upload({"gmf.model": next(source.glob("gmf*.model"))}, tmp_path / "imported", data_folder=data)
    own = first_look(tmp_path / "imported", data, scratch=tmp_path / "scratch", report=lambda progress: None).lines[0]
    assert own.find("hit_rate_10").value == pytest.approx(0.6477, abs=5e-5)
    assert own.find("ndcg_10").value == pytest.approx(0.3734, abs=5e-5)
