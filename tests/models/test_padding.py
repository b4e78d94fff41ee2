"""A row 0 of zeros that came with a model is declared as padding, and handed on to what replaces the table."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.export.onnx import export_onnx
from compression.importers.reader import read_upload
from compression.layers.rows.padded_rows import PaddedRows, keep_padding
from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import encode_rows
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.models.structure import declare_padding, leaves, replace
from compression.models.uploaded import build
from compression.spec.signature import Input, Signature

SIGNATURE = Signature(inputs=(
    Input(name="history", kind="multi", column="history", cardinality=20, max_length=4, ids="as-is"),
    Input(name="item", kind="category", column="item", cardinality=20, ids="as-is")))


class Constant(PaddedRows):
    """A table whose rows are all the same."""

    num_embeddings, embedding_dim = 20, 4

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.ones(4))

    def look_up(self, ids: torch.Tensor) -> torch.Tensor:
        return self.row.expand(*ids.shape, 4)


def ranker() -> nn.Module:
    model = build("field_ranker", SIGNATURE, {"embedding_dim": 4, "pooling": "sum", "skip_padding": False,
                                              "pairs": True})
    with torch.no_grad():
        model.tables["history"].weight[0] = 0
        model.tables["item"].weight[0] = 1
    return model.eval()


@pytest.mark.parametrize("kind", ["weights", "onnx"])
def test_a_loaded_table_with_zeros_in_row_0_alone_has_its_padding_there(kind, tmp_path):
    model = ranker()
    if kind == "weights":
        save_model(tmp_path / "model", LoadedModel(model, SIGNATURE, {}, model.architecture, model.config))
    else:
        path = export_onnx(model, SIGNATURE, tmp_path / "file.onnx").path
        read_upload({"file.onnx": path}, tmp_path / "model", binding=SIGNATURE.model_dump(mode="json"))
    loaded = load_model(tmp_path / "model").module
    padded = [leaf.padding_idx for _, leaf in leaves(loaded) if isinstance(leaf, nn.Embedding)]
    assert sorted(padded, key=str) == [0, None]


def test_what_replaces_a_padded_table_gives_zeros_for_padding_and_no_gradient():
    model = declare_padding(ranker())
    replace(model, "tables.history", Constant())
    replace(model, "tables.item", Constant())
    ids = torch.tensor([[0, 3], [0, 0]])
    rows = model.tables["history"](ids)
    assert torch.equal(rows[:, 0], torch.zeros(2, 4)) and torch.equal(rows[0, 1], torch.ones(4))
    rows.sum().backward()
    assert torch.equal(model.tables["history"].row.grad, torch.ones(4))  # of the one id that is no padding
    assert torch.equal(model.tables["item"](ids), torch.ones(2, 2, 4))


def test_a_frozen_table_that_stores_zeros_needs_no_mask():
    model = declare_padding(ranker())
    coded = QuantizedRows(encode_rows(model.tables["history"].weight.detach(), n_bits=8, clipping="none"))
    replace(model, "tables.history", coded)
    assert coded.padding_idx is None and not coded(torch.tensor([0])).any()


@pytest.mark.parametrize(("trained", "padding"), [(True, 0), (False, None)])
def test_a_padding_row_that_is_zeros_already_is_masked_where_training_could_change_it(trained, padding):
    new = Constant()
    new.look_up = lambda ids: torch.zeros(*ids.shape, 4)
    if not trained:
        new.row = None
    keep_padding(nn.Embedding(20, 4, padding_idx=0), new)
    assert new.padding_idx == padding
