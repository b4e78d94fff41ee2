"""Traits that names and shapes leave open: each is asked, tried on data or said, and the scores are the right ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.importers.reader import read_upload
from compression.models.files import load_model
from tests.importers.checkpoint.make import SASRec, apart, drawn, imported

DIM, LENGTH, ITEMS, HEADS = 8, 6, 12, 2


class Encoder(nn.Module):
    """Attention over a history as S3-Rec has it: norms after each sum and after the tables, zeros left out of keys."""

    def __init__(self, heads: int = HEADS, n_blocks: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.item, self.place, self.norm = nn.Embedding(ITEMS, DIM), nn.Embedding(LENGTH, DIM), nn.LayerNorm(DIM, 1e-12)
        self.blocks = nn.ModuleList(nn.ModuleDict({
            **{name: nn.Linear(DIM, DIM) for name in ("query", "key", "value", "out")},
            "one": nn.LayerNorm(DIM, 1e-12), "widen": nn.Linear(DIM, 20), "narrow": nn.Linear(20, DIM),
            "two": nn.LayerNorm(DIM, 1e-12)}) for _ in range(n_blocks))
        for place, value in enumerate(self.parameters()):
            value.data = drawn(*value.shape, seed=place) + (value.data if value.dim() == 1 else 0)

    def forward(self, history: Tensor, item: Tensor, *, keys: bool = True, causal: bool = True) -> Tensor:
        x = self.norm(self.item(history) + self.place.weight)
        seen = torch.ones(LENGTH, LENGTH).tril() if causal else torch.ones(LENGTH, LENGTH)
        seen = seen * (history != 0)[:, None, None, :] if keys else seen.expand(len(history), 1, LENGTH, LENGTH)
        for block in self.blocks:
            q, k, v = (block[name](x).view(len(x), LENGTH, self.heads, -1).transpose(1, 2)
                       for name in ("query", "key", "value"))
            found = F.scaled_dot_product_attention(q, k, v, attn_mask=(1 - seen) * -1e4)
            x = block["one"](x + block["out"](found.transpose(1, 2).reshape(len(x), LENGTH, DIM)))
            x = block["two"](x + block["narrow"](F.gelu(block["widen"](x))))
        return (x[:, -1] * self.item(item)).sum(-1)


S3REC = {"query": "attention.query", "key": "attention.key", "value": "attention.value", "out": "attention.dense",
         "one": "attention.LayerNorm", "widen": "intermediate.dense_1", "narrow": "intermediate.dense_2",
         "two": "intermediate.LayerNorm"}
RECBOLE = {"query": "multi_head_attention.query", "key": "multi_head_attention.key",
           "value": "multi_head_attention.value", "out": "multi_head_attention.dense",
           "one": "multi_head_attention.LayerNorm", "widen": "feed_forward.dense_1", "narrow": "feed_forward.dense_2",
           "two": "feed_forward.LayerNorm"}
SHORT = torch.tensor([[0, 0, 0, 0, 3, 5], [0, 0, 0, 0, 0, 7], [1, 2, 3, 4, 5, 6]])
CANDIDATES = torch.tensor([7, 3, 9])


def renamed(model: Encoder, parts: dict[str, str], tables: tuple[str, str], blocks: str, norm: str = "LayerNorm", *,
            norm_first: bool = False) -> dict[str, Tensor]:
    """The weights under the names of a repository; the norm of the tables declared before the blocks, or after."""
    state = {f"{name}.weight": table.weight.data for name, table in zip(tables, (model.item, model.place), strict=True)}
    outer = {f"{norm}.{name}": tensor for name, tensor in model.norm.state_dict().items()}
    inner = {f"{blocks}.{place}.{parts[part]}.{name}": tensor for place, block in enumerate(model.blocks)
             for part, layer in block.items() for name, tensor in layer.state_dict().items()}
    return state | (outer | inner if norm_first else inner | outer)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_zeros_of_a_history_are_no_keys_and_the_tables_norm_is_found_wherever_it_is_declared(norm_first):
    model = Encoder()
    state = renamed(model, S3REC, ("item_embeddings", "position_embeddings"), "item_encoder.layer",
                    norm_first=norm_first)
    loaded, asked = imported(state)
    assert apart(loaded, model, SHORT, CANDIDATES) < 1e-5
    assert {"mask", "outer_norm", "causal", "blocks.heads", "blocks.eps"} <= {
        key for key, one in asked.items() if one.decided_by == "guess"}
    seeing, _ = imported(state, {"mask": "none"})
    assert apart(seeing, lambda *rows: model(*rows, keys=False), SHORT, CANDIDATES) < 1e-5
    assert apart(seeing, model, SHORT, CANDIDATES) > 1e-3
    both_ways, _ = imported(state, {"causal": False})
    assert apart(both_ways, lambda *rows: model(*rows, causal=False), SHORT, CANDIDATES) < 1e-5


def test_recboles_names_without_its_settings_have_zeros_behind_and_places_from_0():
    model = Encoder()
    loaded, asked = imported(renamed(model, RECBOLE, ("item_embedding", "position_embedding"), "trm_encoder.layer"))
    behind = torch.tensor([[3, 5, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])

    def expected(history: Tensor, item: Tensor) -> Tensor:
        return torch.cat([_short(model, history[:1, :2], item[:1]), model(history[1:], item[1:])])

    assert loaded.signature.inputs[0].max_length == LENGTH and asked["padding"].answer == "end"
    assert apart(loaded, expected, behind, CANDIDATES[:2]) < 1e-5


def _short(model: Encoder, history: Tensor, item: Tensor) -> Tensor:
    """The score of a history as long as its ids, whose places count from 0."""
    x = model.norm(model.item(history) + model.place.weight[:history.shape[1]])
    for block in model.blocks:
        q, k, v = (block[name](x).view(1, history.shape[1], model.heads, -1).transpose(1, 2)
                   for name in ("query", "key", "value"))
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = block["one"](x + block["out"](found.transpose(1, 2).reshape(1, -1, DIM)))
        x = block["two"](x + block["narrow"](F.gelu(block["widen"](x))))
    return (x[:, -1] * model.item(item)).sum(-1)


def test_a_norm_whose_name_says_nothing_is_asked_about():
    model = Encoder()
    state = renamed(model, {key: name.lower() for key, name in S3REC.items()}, ("item_emb", "pos_emb"), "layers",
                    norm="ln")
    answers = {"outer_norm": "embedding", "blocks.heads": 2, "blocks.activation": "gelu", "blocks.norm": "post",
               "scale": "none", "blocks.eps": 1e-12}
    loaded, asked = imported(state, answers)
    assert apart(loaded, model, SHORT, CANDIDATES) < 1e-5
    assert imported(state)[1]["outer_norm"].decided_by == "guess" and asked["outer_norm"].choices == (
        "embedding", "final")


def test_a_row_of_unnamed_norms_is_read_from_either_end():
    model = Encoder(n_blocks=1)
    (block,) = model.blocks
    layers = {"item": model.item, "place": model.place, "norms.0": model.norm, "norms.1": block["one"],
              "norms.2": block["two"], "query": block["query"], "key": block["key"], "value": block["value"],
              "attention_out": block["out"], "feed.0": block["widen"], "feed.2": block["narrow"]}
    state = {f"{path}.{name}": tensor for path, layer in layers.items() for name, tensor in layer.state_dict().items()}
    answers = {"spare_norm": "embedding", "blocks.heads": 2, "blocks.activation": "gelu", "scale": "none",
               "blocks.norm": "post", "blocks.eps": 1e-12}
    loaded, _ = imported(state, answers)
    assert apart(loaded, model, SHORT, CANDIDATES) < 1e-5
    assert imported(state)[1]["spare_norm"].decided_by == "guess"


@pytest.mark.slow
def test_heads_of_s3recs_first_training_are_left_out_and_named(tmp_path):
    model = Encoder()
    state = renamed(model, S3REC, ("item_embeddings", "position_embeddings"), "item_encoder.layer")
    state |= {"attribute_embeddings.weight": drawn(5, DIM)} | {
        f"{name}_norm.{part}": drawn(*shape) for name in ("aap", "mip", "map", "sp")
        for part, shape in (("weight", (DIM, DIM)), ("bias", (DIM,)))}
    torch.save(state, tmp_path / "m")
    description = read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model")
    assert "Left out, because no score reads it: attribute_embeddings, aap_norm" in " ".join(description.notes)
    assert apart(load_model(tmp_path / "model"), model, SHORT, CANDIDATES) < 1e-5


def test_the_first_sasrec_port_sets_the_states_of_padding_to_zero():
    torch.manual_seed(0)
    model = SASRec(timeline=True).eval()
    history = torch.tensor([[0, 0, 0, 5, 9, 3], [1, 2, 3, 4, 5, 6]])
    loaded, asked = imported(model.state_dict(), {"blocks.heads": 2})
    assert asked["mask"].answer == "states" and loaded.signature.inputs[0].max_length == 6
    assert apart(loaded, model, history, torch.tensor([8, 4])) < 1e-5
    other, _ = imported(model.state_dict(), {"blocks.heads": 2, "mask": "none"})
    assert apart(other, model, history, torch.tensor([8, 4])) > 1e-3


# Users and items
