"""Checkpoints of PyTorch Lightning: hyper-parameters answer questions, prefixes and losses fall away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compression.importers.reader import read_upload
from compression.models.files import load_model
from tests.importers.checkpoint.make import apart
from tests.importers.checkpoint.test_recognise import pair
from tests.importers.checkpoint.tools import instance, lightning_checkpoint, lightning_sasrec, stranger


def read(content: bytes, folder: Path, **options):
    (folder / "up.ckpt").write_bytes(content)
    description = read_upload({"m.ckpt": folder / "up.ckpt"}, folder / "model", **options)
    return load_model(folder / "model"), {one.key: (one.answer, one.decided_by) for one in description.questions}


def network() -> nn.ModuleDict:
    """Two fields through a network; neither names nor shapes say its activation."""
    torch.manual_seed(0)
    return nn.ModuleDict({"emb": nn.ModuleDict({"user": nn.Embedding(30, 4), "item": nn.Embedding(50, 4)}),
                          "deep": nn.Sequential(nn.Linear(8, 6), nn.Identity(), nn.Linear(6, 1))})


def score(model: nn.ModuleDict, activation) -> object:
    def expected(user, item):
        x = torch.cat([model["emb"]["user"](user), model["emb"]["item"](item)], 1)
        return model["deep"][2](activation(model["deep"][0](x))).squeeze(1)
    return expected


@pytest.mark.slow
def test_heads_from_a_namespace_and_a_loss_beside_the_model(tmp_path):
    model, content = lightning_sasrec()
    loaded, decided = read(content, tmp_path, binding={"answers": {"padding": "front"}})
    assert decided["blocks.heads"] == (3, "file")
    history, item = torch.tensor([[0, 0, 0, 5, 9, 3], [1, 2, 3, 4, 5, 6]]), torch.tensor([8, 4])
    assert apart(loaded, model, history, item) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("attribute", ["model", "net", "ranker"])
@pytest.mark.parametrize(("said", "activation"), [("Tanh", torch.tanh), (nn.GELU, nn.functional.gelu),
                                                  ("torch.nn.LeakyReLU", nn.functional.leaky_relu)])
def test_an_activation_as_a_word_or_a_class_is_taken_over(said, activation, attribute, tmp_path):
    model = network()
    content = lightning_checkpoint(model, {"model": {"activation": said, "dropout": 0.25}}, attribute=attribute,
                                   beside={"train_loss.total": torch.zeros(1)})
    loaded, decided = read(content, tmp_path)
    assert decided["mlp.activation"][1] == "file" and loaded.config["mlp"]["dropout"] == 0.25
    assert apart(loaded, score(model, activation), *pair()) < 1e-5


def test_settings_in_nodes_of_omegaconf_are_read_as_data(tmp_path):
    model = network()
    with stranger("omegaconf.nodes.AnyNode") as node, stranger("omegaconf.dictconfig.DictConfig") as config:
        content = lightning_checkpoint(model, instance(config, _metadata=None, _content={
            "activation": instance(node, _metadata=None, _val="tanh")}))
    loaded, decided = read(content, tmp_path)
    assert decided["mlp.activation"] == ("tanh", "file")
    assert apart(loaded, score(model, torch.tanh), *pair()) < 1e-5


def test_rows_of_fields_in_one_table_are_told_by_field_dims(tmp_path):
    state = nn.ModuleDict({"embedding": nn.Embedding(35, 4), "mlp": nn.Sequential(
        nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 1))})
    hyper = {"field_dims": [20, 10, 5], "sparse_features": ["user", "item", "day"], "activation": "relu"}
    loaded, _ = read(lightning_checkpoint(state, hyper), tmp_path)
    assert [(one.name, one.cardinality) for one in loaded.signature.inputs] == [("user", 20), ("item", 10), ("day", 5)]
    assert torch.equal(loaded.module.tables["item"].weight, state["embedding"].weight[20:30])


@pytest.mark.slow
@pytest.mark.parametrize("hyper", [
    {"num_heads": 5, "dropout": "much", "activation": ["relu"], "max_len": -3}, {"num_heads": [3]}, ["num_heads"], 7,
    {"field_dims": [1, 2], "norm_first": "yes", "nested": {"deep": {"deeper": {"still": {"more": {"n": {}}}}}}}])
def test_hyper_parameters_of_another_kind_are_left_out_and_the_question_asked(hyper, tmp_path):
    model, _ = lightning_sasrec()
    _, decided = read(lightning_checkpoint(model, hyper), tmp_path)
    assert decided["blocks.heads"][1] == "guess"
