"""Traits of pairs, graphs, ratings and side inputs: each is asked, tried on data or said, and the scores are right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.data.description import load_description
from compression.data.ingest import read_splits
from compression.export.onnx import export_onnx
from compression.importers.binding.vocabularies import prepare
from compression.importers.checkpoint import choose
from compression.importers.checkpoint.choose import assembled
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.spec.errors import ModelError
from tests.data.write import write_data
from tests.importers.checkpoint.make import apart, drawn, imported
from tests.importers.checkpoint.tools import saved

USERS, GOODS = 20, 30


def tables(users: int = USERS, goods: int = GOODS) -> dict[str, Tensor]:
    lengths = torch.rand(users + goods, 1, generator=torch.Generator().manual_seed(3)) * 4 + 0.1
    return {"user_emb.weight": drawn(users, 4) * lengths[:users], "item_emb.weight": drawn(goods, 4) * lengths[users:]}


def ratings(folder: Path, score: Tensor, *, rows: int = 1500, noise: float = 0.0, **description: Any) -> Path:
    """Data of users and items whose label is drawn from the (U, I) scores."""
    rng = np.random.default_rng(0)
    users, goods = rng.integers(0, score.shape[0], rows), rng.integers(0, score.shape[1], rows)
    chance = torch.sigmoid(score)[users, goods].numpy()
    label = (rng.random(rows) < chance).astype(int) if "label" not in description else score[users, goods].numpy()
    lines = [["click", "user", "item"]] + [[str(one), str(user), str(item)]
                                           for one, user, item in zip(label, users, goods, strict=True)]
    columns = [{"name": "click", "role": "label"}, {"name": "user", "role": "user"}, {"name": "item", "role": "item"}]
    return write_data(folder, text="\n".join(map(",".join, lines)) + "\n", columns=columns,
                      **{"split": {"kind": "random"}} | description)


def cosine(state: dict[str, Tensor], scale: float = 1.0) -> Tensor:
    user, item = (F.normalize(table, dim=1) for table in state.values())
    return scale * user @ item.T


def test_a_cosine_is_asked_for_and_reproduced():
    state = tables()
    user, item = torch.arange(USERS), torch.arange(USERS)
    loaded, asked = imported(state, {"compare": "cosine", "scale": 5.0})
    assert apart(loaded, lambda user, item: cosine(state, 5.0)[user, item], user, item) < 1e-5
    assert {key for key, one in asked.items() if one.decided_by == "guess"} == {"graph_layers", "output_form"}
    guessed, asked = imported(state)
    assert asked["compare"].decided_by == "guess" and guessed.config["compare"] == "dot"


def test_data_decides_between_cosine_and_dot_product_and_says_by_how_much(tmp_path):
    state = tables()
    data = ratings(tmp_path, cosine(state, 6.0), rows=3000)
    torch.save(state, tmp_path / "m")
    description = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model", data_folder=data,
                              binding={"answers": {"graph_layers": 0}})
    asked = {one.key: one for one in description.questions}
    assert (asked["compare"].answer, asked["compare"].decided_by) == ("cosine", "data")
    lead = asked["compare"].losses[0] - asked["compare"].losses[1]
    assert lead > 2 * asked["compare"].lead_error > 0
    assert f"compare: cosine ({asked['compare'].losses[1]:.4f}; next dot, {lead:.4f} more)" in " ".join(
        description.notes)


def test_no_choice_is_scored_twice(tmp_path, monkeypatch):
    state = {"user_tower.0.weight": drawn(6, 4), "user_tower.0.bias": drawn(6), "user_tower.2.weight": drawn(3, 6),
             "user_tower.2.bias": drawn(3)}
    state |= {name.replace("user", "item"): drawn(*value.shape, seed=1) for name, value in state.items()} | tables()
    scored: list[str] = []

    def counted(found: Any, config: dict[str, Any], signature: Any) -> nn.Module:
        scored.append(str(config))
        return assembled(found, config, signature)

    monkeypatch.setattr(choose, "assembled", counted)
    _, asked = imported(state, data_folder=ratings(tmp_path, drawn(USERS, GOODS), rows=300))
    choices = [len(one.choices) for one in asked.values() if one.choices and one.key != "output_form"]
    assert math.prod(choices) > choose.MAX_TRIED  # one question after the other
    assert len(scored) - len(set(scored)) <= 1  # the best once more, for the form of the output


def test_a_choice_within_the_noise_of_the_rows_is_said_to_be_so(tmp_path):
    state = {name: table / table.norm(dim=1, keepdim=True) * (1 + 0.001 * drawn(len(table), 1))
             for name, table in tables().items()}
    torch.save(state, tmp_path / "m")
    description = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model", data_folder=ratings(
        tmp_path, cosine(state)), binding={"answers": {"graph_layers": 0, "output_form": "logit"}})
    assert "which is within the noise: check it" in " ".join(description.notes)


@pytest.mark.parametrize(("name", "held", "scale"), [("temperature", 0.2, 5.0), ("logit_scale", float(np.log(5)), 5.0),
                                                     ("scale", 5.0, 5.0)])
def test_a_learned_temperature_is_no_mean_of_ratings(name, held, scale):
    state = tables()
    user, item = torch.arange(USERS), torch.arange(USERS)
    loaded, asked = imported(state | {name: torch.tensor(held)})
    assert asked["compare"].answer == "cosine" and asked["scale"].answer == pytest.approx(scale)
    assert apart(loaded, lambda user, item: cosine(state, scale)[user, item], user, item) < 1e-5


def graph_scores(state: dict[str, Tensor], users: Tensor, goods: Tensor, weights: list[float]) -> Tensor:
    """Scores of LightGCN by the whole normalised adjacency matrix."""
    user, item = state.values()
    there = torch.zeros(len(user), len(item))
    there[users, goods] = 1
    degree = [there.sum(1).clamp(min=1).rsqrt(), there.sum(0).clamp(min=1).rsqrt()]
    step = degree[0][:, None] * there * degree[1]
    sides, sums = (user, item), [weights[0] * user, weights[0] * item]
    for weight in weights[1:]:
        sides = step @ sides[1], step.T @ sides[0]
        sums = [one + weight * side for one, side in zip(sums, sides, strict=True)]
    return sums[0] @ sums[1].T


@pytest.fixture
def graph(tmp_path) -> tuple[Path, Tensor, Tensor]:
    """Data, and the users and items of its train rows of label 1."""
    data = ratings(tmp_path, drawn(USERS, GOODS) * 5, rows=400)
    train = read_splits(data, load_description(data))["train"].filter(click="1")
    return data, torch.tensor(train["user"].cast(int).to_list()), torch.tensor(train["item"].cast(int).to_list())


def test_tables_from_before_a_graph_are_propagated_over_the_train_interactions(tmp_path, graph):
    state = tables()
    user, item = torch.arange(USERS), torch.arange(USERS)
    with pytest.raises(ModelError, match=r"before 3 layers of a graph \(LightGCN\).*Choose that dataset"):
        imported(state, {"graph_layers": 3})
    loaded, _ = imported(state, {"graph_layers": 3, "compare": "dot", "output_form": "logit"}, data_folder=graph[0])
    expected = graph_scores(state, *graph[1:], [0.25] * 4)
    assert apart(loaded, lambda user, item: expected[user, item], user, item) < 1e-5
    assert imported(state)[1]["graph_layers"].decided_by == "guess"


def test_one_table_of_users_and_items_with_the_weights_of_its_layers_is_a_light_gcn(tmp_path, graph):
    state, alpha = tables(), [0.4, 0.3, 0.2, 0.1]
    joint = {"alpha": torch.tensor(alpha), "embedding.weight": torch.cat(list(state.values()))}
    answers = {"field_sizes": [USERS, GOODS], "compare": "dot", "output_form": "logit"}
    loaded, _ = imported(joint, answers, data_folder=graph[0])
    expected = graph_scores(state, *graph[1:], alpha)
    user, item = torch.arange(USERS), torch.arange(USERS)
    assert apart(loaded, lambda user, item: expected[user, item], user, item) < 1e-5


@pytest.mark.parametrize("extra", [{}, {"bias.weight": drawn(USERS + GOODS, 1)}])
def test_one_table_of_users_and_items_is_no_machine_of_one_field(extra, tmp_path):
    state = tables()
    joint = {"embedding.weight": torch.cat(list(state.values()))} | extra
    with pytest.raises(ModelError, match=r"one table of 50 rows \(embedding\), and nothing says"):
        imported(joint)
    loaded, _ = imported(joint, {"field_sizes": "20, 30"})
    user, item = torch.arange(USERS), torch.arange(USERS)

    def expected(user: Tensor, item: Tensor) -> Tensor:
        score = (state["user_emb.weight"][user] * state["item_emb.weight"][item]).sum(1)
        bias = extra.get("bias.weight", torch.zeros(USERS + GOODS, 1)).squeeze(1)
        return score + bias[user] + bias[USERS + item]

    assert apart(loaded, expected, user, item) < 1e-5
    torch.save(joint, tmp_path / "m")
    asked = look_at({"m.pth": tmp_path / "m"}, tmp_path / "model").questions
    assert [one.key for one in asked] == ["field_sizes"]
    data = ratings(tmp_path, state["user_emb.weight"] @ state["item_emb.weight"].T)
    description = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model", data_folder=data)
    assert "comes from the values in the data: user 20, item 30" in " ".join(description.notes)


@pytest.mark.slow
def test_a_rating_is_asked_for_and_no_sigmoid_is_put_behind_it(tmp_path):
    state = tables() | {"user_bias.weight": drawn(USERS, 1), "item_bias.weight": drawn(GOODS, 1),
                        "mean": torch.tensor(3.5)}
    torch.save(state, tmp_path / "m")
    score = (state["user_emb.weight"] @ state["item_emb.weight"].T + state["user_bias.weight"]
             + state["item_bias.weight"].T + 3.5)
    rows = {"user": np.arange(USERS), "item": np.arange(USERS)}
    guessed = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "guessed")
    assert "output_form: logit" in " ".join(guessed.notes)
    for binding, data in (({"answers": {"output_form": "rating"}}, None), ({}, ratings(
            tmp_path, score, label={"column": "click", "at_least": 3.5}))):
        out = tmp_path / f"model_{data is None}"
        description = read_upload({"m.pth": tmp_path / "m"}, out, binding=binding, data_folder=data)
        decided = {one.key: (one.answer, one.decided_by) for one in description.questions}["output_form"]
        assert decided == ("rating", "answer" if data is None else "data")
        loaded = load_model(out)
        path = export_onnx(loaded.module, loaded.signature, out / "model.onnx").path
        (scores,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, rows)
        assert np.allclose(scores, score[:, :USERS].diag(), atol=1e-5)


# Numbers beside a network

class WideDeep(nn.Module):
    """A layer over the numbers beside a network over two ids. Cheng et al. 2016."""

    def __init__(self, n_numbers: int) -> None:
        super().__init__()
        self.embed = nn.ModuleDict({"user": nn.Embedding(USERS, 4), "item": nn.Embedding(GOODS, 4)})
        self.linear = nn.Linear(n_numbers, 1)
        self.mlp = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        self.linear.weight.data[:] = -0.7

    def forward(self, user: Tensor, item: Tensor, *numbers: Tensor) -> Tensor:
        vectors = torch.cat([self.embed["user"](user), self.embed["item"](item)], 1)
        return (self.linear(torch.stack(numbers, 1)) + self.mlp(vectors)).squeeze(-1)


@pytest.mark.parametrize("n_numbers", [1, 3])
def test_a_layer_over_numbers_is_not_chained_behind_the_network(n_numbers):
    torch.manual_seed(0)
    model = WideDeep(n_numbers).eval()
    numbers = [drawn(USERS, seed=place) for place in range(n_numbers)]
    loaded, asked = imported(model.state_dict())
    assert apart(loaded, model, torch.arange(USERS), torch.arange(USERS), *numbers) < 1e-5
    assert ("linear_reads" in asked) == (n_numbers == 1)


def test_a_last_layer_of_one_input_is_read_so_where_the_answer_says_it():
    model = WideDeep(1).eval()
    loaded, _ = imported(model.state_dict(), {"linear_reads": "network", "mlp.last": "plain"})

    def expected(user: Tensor, item: Tensor) -> Tensor:
        vectors = torch.cat([model.embed["user"](user), model.embed["item"](item)], 1)
        return model.linear(model.mlp(vectors)).squeeze(-1)

    assert apart(loaded, expected, torch.arange(USERS), torch.arange(USERS)) < 1e-5


# Mappings of values to rows

def test_mappings_beside_the_weights_number_the_rows(tmp_path):
    state = tables()
    content = {"state_dict": state, "u2i": {100 + row: row for row in range(USERS)},
               "idx2movie": {row: str(7 * row) for row in range(GOODS)}, "epoch": 3, "shape": {"a": 5, "b": 9}}
    (tmp_path / "m").write_bytes(saved(content))
    description = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.vocabularies == {"user": [str(100 + row) for row in range(USERS)],
                                   "item": [str(7 * row) for row in range(GOODS)]}
    assert [(one.ids, one.first_id) for one in loaded.signature.inputs] == [("vocabulary", 0)] * 2
    assert "The rows of user are read by the mapping u2i in the file (20 values)." in description.notes
    look = look_at({"m.pth": tmp_path / "m"}, tmp_path / "out")
    assert {name: one.count for name, one in look.mappings.items()} == {"u2i": USERS, "idx2movie": GOODS}


@pytest.mark.slow
def test_a_mapping_that_fits_no_column_is_named_and_can_be_chosen(tmp_path):
    content = {"state_dict": tables(), "user2id": {f"u{row}": row for row in range(USERS)}}
    (tmp_path / "m").write_bytes(saved(content))
    data = ratings(tmp_path, drawn(USERS, GOODS))  # whose users are row numbers already
    files = {"m.pth": tmp_path / "m"}
    description = read_upload(files, tmp_path / "model", data_folder=data)
    assert load_model(tmp_path / "model").vocabularies == {}
    assert "no input was matched to: user2id (20 values)" in " ".join(description.notes)
    binding, built = prepare({"inputs": {"user": {"column": "user", "from": {"user": "file:user2id"}}}}, files, data)
    assert built == {}
    read_upload(files, tmp_path / "chosen", data_folder=data, binding=binding)
    assert load_model(tmp_path / "chosen").vocabularies["user"][3] == "u3"
    binding["inputs"]["user"]["from"] = {"user": "file:other"}
    with pytest.raises(ModelError, match=r"mapping 'other' for the column 'user'.*there are: user2id"):
        read_upload(files, tmp_path / "other", data_folder=data, binding=binding)
