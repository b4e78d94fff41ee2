"""Weights that could be of a second model: what tells them apart is asked, and the answer gives the right scores."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.export.onnx import export_onnx
from compression.importers.reader import look_at
from compression.spec.errors import ModelError
from tests.importers.checkpoint.make import apart, imported

USERS, GOODS, DIM, N = 20, 30, 8, 16


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * 0.5


def ids(high: int, seed: int = 1) -> Tensor:
    return torch.randint(0, high, (N,), generator=torch.Generator().manual_seed(seed))


USER, ITEM = ids(USERS), ids(GOODS)
TABLES = {"user_emb.weight": drawn(USERS, DIM), "item_emb.weight": drawn(GOODS, DIM)}


def network(name: str, *widths: int, seed: int = 0) -> dict[str, Tensor]:
    """Dense layers under the numbers they have in a Sequential with activations between them."""
    state = {}
    for place, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        state |= {f"{name}.{2 * place}.weight": drawn(n_out, n_in, seed=seed),
                  f"{name}.{2 * place}.bias": drawn(n_out, seed=seed)}
    return state


def through(state: dict[str, Tensor], name: str, x: Tensor, *, last: bool = False) -> Tensor:
    places = sorted({int(key.split(".")[1]) for key in state if key.startswith(f"{name}.")})
    for place in places:
        x = F.linear(x, state[f"{name}.{place}.weight"], state[f"{name}.{place}.bias"])
        x = F.relu(x) if last or place != places[-1] else x
    return x


def vectors(user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
    return TABLES["user_emb.weight"][user], TABLES["item_emb.weight"][item]


def towers(state: dict[str, Tensor], *, last: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    def score(user: Tensor, item: Tensor) -> Tensor:
        left, right = vectors(user, item)
        sides = through(state, "user_tower", left, last=last), through(state, "item_tower", right, last=last)
        return F.cosine_similarity(*sides, dim=1)
    return score


# Two towers

def test_the_activation_after_a_towers_last_layer_is_asked_about():
    state = TABLES | network("user_tower", DIM, 16, 4) | network("item_tower", DIM, 16, 4, seed=1)
    loaded, asked = imported(state)
    assert apart(loaded, towers(state), USER, ITEM) < 1e-5
    assert asked["user_tower.last"].decided_by == asked["item_tower.last"].decided_by == "guess"
    loaded, _ = imported(state, {"user_tower.last": "activated", "item_tower.last": "activated"})
    assert apart(loaded, towers(state, last=True), USER, ITEM) < 1e-5


@pytest.mark.parametrize("order", [("item_emb", "user_emb", "user_tower", "item_tower"),
                                   ("user_emb", "item_emb", "item_tower", "user_tower"),
                                   ("item_emb", "user_emb", "item_tower", "user_tower")])
def test_towers_and_tables_are_matched_by_their_sides_in_any_order_of_the_file(order):
    state = TABLES | network("user_tower", DIM, 16, 4) | network("item_tower", DIM, 16, 4, seed=1)
    shuffled = {name: state[name] for part in order for name in state if name.startswith(part)}
    assert apart(imported(shuffled)[0], towers(state), USER, ITEM) < 1e-5


def test_layers_of_a_graph_are_no_towers():
    state = TABLES | network("GC_Linear_list", DIM, DIM) | network("Bi_Linear_list", DIM, DIM)
    with pytest.raises(ModelError, match="no family that is recognised"):
        imported(state)


def test_towers_may_have_batch_norms():
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.item = nn.Embedding(USERS, DIM), nn.Embedding(GOODS, DIM)
            self.user_mlp, self.item_mlp = (nn.Sequential(
                nn.Linear(DIM, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.ReLU())
                for _ in range(2))

        def forward(self, user: Tensor, item: Tensor) -> Tensor:
            return F.cosine_similarity(self.user_mlp(self.user(user)), self.item_mlp(self.item(item)), dim=1)

    torch.manual_seed(0)
    model = Towers().train()
    for _ in range(3):
        model(USER, ITEM)
    assert apart(imported(model.state_dict())[0], model.eval(), USER, ITEM) < 1e-5


# Two tables

@pytest.mark.slow
@pytest.mark.parametrize(("compare", "score"), [
    ("distance", lambda user, item: -(user - item).norm(dim=1)),
    ("squared distance", lambda user, item: -(user - item).square().sum(1))])
def test_vectors_may_be_compared_by_their_distance(compare, score, tmp_path):
    loaded, asked = imported(TABLES, {"compare": compare})
    assert apart(loaded, lambda user, item: score(*vectors(user, item)), USER, ITEM) < 1e-5
    assert compare in imported(TABLES)[1]["compare"].choices and asked["compare"].decided_by == "answer"
    assert export_onnx(loaded.module, loaded.signature, tmp_path / "model.onnx").path.exists()


def test_a_mean_of_ratings_that_no_weight_holds_is_asked_for():
    state = TABLES | {"user_bias.weight": drawn(USERS, 1), "item_bias.weight": drawn(GOODS, 1)}

    def score(user: Tensor, item: Tensor) -> Tensor:
        left, right = vectors(user, item)
        biases = state["user_bias.weight"][user] + state["item_bias.weight"][item]
        return (left * right).sum(1) + biases.squeeze(1) + 3.5

    loaded, _ = imported(state, {"constant": 3.5})
    assert apart(loaded, score, USER, ITEM) < 1e-5
    assert imported(state)[1]["constant"].decided_by == "guess"
    with pytest.raises(ModelError, match=r"constant.*is a number, such as 3.53; got 'high'"):
        imported(state, {"constant": "high"})
    assert "constant" not in imported(state | {"mean": torch.tensor(3.5)})[1]


@pytest.mark.parametrize("behind", [{}, network("user_tower", DIM, 4) | network("item_tower", DIM, 4)])
def test_a_table_of_items_in_the_users_place_may_hold_histories(behind):
    state = {"item_src_embedding.weight": drawn(GOODS, DIM), "item_dst_embedding.weight": drawn(GOODS, DIM)} | behind
    assert imported(state)[1]["user_reads"].decided_by == "guess"
    with pytest.raises(ModelError, match="known by a history over the table item_src_embedding"):
        imported(state, {"user_reads": "a history"})
    assert "user_reads" not in imported(TABLES | behind)[1]


# Fields

def fields(*sizes: int) -> dict[str, Tensor]:
    return {f"emb.f{place}.weight": drawn(size, DIM, seed=place) for place, size in enumerate(sizes)}


SIZES = (20, 30, 10, 5)
FOUR = tuple(ids(size, seed=size) for size in SIZES)


def stacked(state: dict[str, Tensor], rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([state[f"emb.f{place}.weight"][one] for place, one in enumerate(rows)], 1)  # (B, F, D)


def dots(found: Tensor, order: str) -> Tensor:
    pairs = itertools.combinations(range(found.shape[1]), 2)
    places = sorted(pairs, key=lambda pair: pair[::-1]) if order == "lower" else list(pairs)
    return torch.stack([(found[:, one] * found[:, two]).sum(1) for one, two in places], 1)


@pytest.mark.parametrize("order", ["upper", "lower"])
def test_dot_products_beside_the_vectors_are_told_from_numbers_and_read_in_their_order(order):
    state = fields(*SIZES) | network("mlp", 4 * DIM + 6, 16, 1)

    def score(*rows: Tensor) -> Tensor:
        found = stacked(state, rows)
        return through(state, "mlp", torch.cat([found.flatten(1), dots(found, order)], 1)).squeeze(1)

    loaded, _ = imported(state, {"beside": "dots", "dots_order": order})
    assert apart(loaded, score, *FOUR) < 1e-5
    asked = imported(state)[1]["beside"]
    assert (asked.choices, asked.decided_by) == (("numbers", "dots"), "guess")


@pytest.mark.parametrize(("names", "order"), [(("bot_l", "top_l"), "lower"), (("dense_arch", "over_arch"), "upper")])
def test_the_dot_products_of_two_libraries_are_read_in_the_order_of_each(names, order):
    bottom, top = names
    state = fields(*SIZES) | network(bottom, 3, 16, DIM) | network(top, DIM + 10, 16, 1)
    numbers = [drawn(N, seed=place) for place in range(3)]

    def score(*inputs: Tensor) -> Tensor:
        dense = through(state, bottom, torch.stack(inputs[4:], 1), last=True)
        found = torch.cat([dense.unsqueeze(1), stacked(state, inputs[:4])], 1)
        return through(state, top, torch.cat([dense, dots(found, order)], 1)).squeeze(1)

    loaded, asked = imported(state)
    assert apart(loaded, score, *FOUR, *numbers) < 1e-5
    assert asked["dots_order"].decided_by == "guess"


@pytest.mark.parametrize("more", [1, 2])
def test_vectors_beside_those_of_the_tables_are_no_numbers_once_it_is_said(more):
    state = TABLES | network("mlp", (2 + more) * DIM, 16, 1)
    asked = imported(state)[1]["beside"]
    assert "vectors" in asked.choices and asked.decided_by == "guess"
    with pytest.raises(ModelError, match=f"reads {more} vectors more than there are tables"):
        imported(state, {"beside": "vectors"})


def test_tables_without_a_layer_are_no_factorisation_machine_until_it_is_said(tmp_path):
    state = fields(*SIZES)
    with pytest.raises(ModelError, match="hold the tables f0, f1, f2, f3 and no layer"):
        imported(state)
    loaded, _ = imported(state, {"pairs": True})
    assert apart(loaded, lambda *rows: dots(stacked(state, rows), "upper").sum(1), *FOUR) < 1e-5
    torch.save(state, tmp_path / "m")
    assert [one.key for one in look_at({"m.pth": tmp_path / "m"}, tmp_path / "out").questions] == ["pairs"]


def test_one_table_before_a_layer_as_wide_as_a_vector_is_no_single_field(tmp_path):
    state = {"embedding.weight": drawn(GOODS, DIM)} | network("mlp", DIM, 16, 1)
    with pytest.raises(ModelError, match="nothing says whether several fields share it"):
        imported(state)
    history = torch.tensor([[3, 5, 0, 0], [1, 2, 3, 4]])

    def score(history: Tensor) -> Tensor:
        there = (history != 0).unsqueeze(-1)
        pooled = (state["embedding.weight"][history] * there).sum(1) / there.sum(1)
        return through(state, "mlp", pooled).squeeze(1)

    loaded, _ = imported(state, {"lists": ["embedding"], "fields": ["embedding"]})
    assert apart(loaded, score, history) < 1e-5


# Padding

def histories(name: str) -> dict[str, Any]:
    torch.manual_seed(0)
    kinds = {"gru": nn.GRU(DIM, DIM, batch_first=True), "encoder": nn.TransformerEncoderLayer(DIM, 2, 16)}
    places = {"pos_emb.weight": drawn(6, DIM)} if name == "encoder" else {}
    return {"item_emb.weight": drawn(GOODS, DIM)} | places | {
        f"{name}.{key}": tensor for key, tensor in kinds[name].state_dict().items()}


@pytest.mark.parametrize("name", ["gru", "encoder"])
@pytest.mark.parametrize("row", [1, GOODS - 1])
def test_a_row_of_zeros_elsewhere_than_in_front_says_that_another_id_is_padding(name, row):
    state = histories(name)
    state["item_emb.weight"][row] = 0
    with pytest.raises(ModelError, match=rf"Row {row} of item_emb is all zeros and row 0 isn't"):
        imported(state)
    loaded, asked = imported(state, {"padding_id": 0})
    assert loaded.signature.inputs[0].name == "history" and asked["padding_id"].decided_by == "answer"
    state["item_emb.weight"][0] = 0
    assert "padding_id" not in imported(state)[1]


def test_a_list_of_a_click_model_may_have_another_id_as_padding_too():
    state = fields(20, 30, 10) | network("mlp", 3 * DIM, 16, 1)
    state["emb.f1.weight"][29] = 0
    assert "padding_id" not in imported(state)[1]  # of single ids, nothing is padded
    with pytest.raises(ModelError, match="Row 29 of f1 is all zeros and row 0 isn't"):
        imported(state, {"lists": ["f1"]})


# Pooling

@pytest.mark.parametrize("read_from", ["last", "items", "places"])
def test_a_history_may_be_read_from_the_mean_of_its_states(read_from):
    state = histories("encoder")
    block = nn.TransformerEncoderLayer(DIM, 2, 16, batch_first=True).eval()
    block.load_state_dict({name.removeprefix("encoder."): tensor for name, tensor in state.items()
                           if name.startswith("encoder.")})
    history = torch.tensor([[0, 0, 0, 5, 9, 3], [1, 2, 3, 4, 5, 6]])

    def score(history: Tensor, item: Tensor) -> Tensor:
        x = state["item_emb.weight"][history] + state["pos_emb.weight"]
        x, there = block(x, src_mask=torch.ones(6, 6).triu(1).bool()), (history != 0).unsqueeze(-1)
        by_choice = {"last": x[:, -1], "places": x.mean(1), "items": (x * there).sum(1) / there.sum(1)}
        return (by_choice[read_from] * state["item_emb.weight"][item]).sum(1)

    answers = {"blocks.heads": 2, "scale": "none", "mask": "none", "read_from": read_from}
    loaded, _ = imported(state, answers)
    assert apart(loaded, score, history, torch.tensor([7, 3])) < 1e-5
    assert imported(state)[1]["read_from"].decided_by == "guess"


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_answers_of_filters_may_be_averaged(pool):
    filters = [drawn(4, DIM, 2), drawn(4, DIM, 3)]
    state = {"embedding.weight": drawn(GOODS, DIM)} | {
        f"convs.{place}.{name}": tensor for place, weight in enumerate(filters)
        for name, tensor in (("weight", weight), ("bias", drawn(4)))} | network("fc", 8, 1)
    tokens = torch.tensor([[3, 5, 1, 2], [1, 2, 3, 4]])

    def score(tokens: Tensor) -> Tensor:
        x = state["embedding.weight"][tokens].transpose(1, 2)
        found = [F.relu(F.conv1d(x, one, drawn(4))) for one in filters]
        pooled = [one.amax(2) if pool == "max" else one.mean(2) for one in found]
        return through(state, "fc", torch.cat(pooled, 1)).squeeze(1)

    loaded, _ = imported(state, {"length": 4, "same_length": False, "pool": pool})
    assert apart(loaded, score, tokens) < 1e-5
    assert imported(state)[1]["pool"].decided_by == "guess"
