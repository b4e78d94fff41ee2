"""Recognise models of transformer blocks: SASRec and its like, and cross-encoders over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from compression.models.importers.state_dict.others import PADDING
from compression.models.importers.state_dict.recognised import ACTIVATIONS, Field, Recognised, Settings, with_bias
from compression.models.importers.state_dict.skeleton import Leaf, of_kind
from compression.records import Question

MAX_HEADS = 32


@dataclass
class _Blocks:
    """What the blocks are, and the leaves they leave over."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    left: list[Leaf]
    by_role: bool  # norms are named after attention and network


def recognise_attention(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """A table of items or tokens, one of places, and blocks; a layer to one score makes it a cross-encoder."""
    tables = of_kind(leaves, "table")
    places = [leaf for leaf in tables if leaf.named("pos|place")]
    if len(tables) != 2 or len(places) != 1 or tables[0].n_in != tables[1].n_in:
        return None
    ids = next(leaf for leaf in tables if leaf is not places[0])
    blocks = _blocks([leaf.as_linear() for leaf in leaves if leaf not in tables], ids.n_in)
    if blocks is None:
        return None
    scores = [leaf for leaf in blocks.left if leaf.kind == "linear" and leaf.n_out == 1]
    if scores:
        return _text(ids, places[0], blocks, scores[0], settings)
    return _history(ids, places[0], blocks, settings)


def _history(ids: Leaf, place: Leaf, blocks: _Blocks, settings: Settings) -> Recognised | None:
    norms, weights = _outer_norms(blocks)
    if norms is None or blocks.left:
        return None
    said = settings.get("length")
    start = place.n_out - int(said) if said and 0 <= place.n_out - int(said) <= 2 else int(blocks.by_role)
    config = {"embedding_dim": ids.n_in, "length": place.n_out - start, "place_rows": place.n_out,
              "blocks": blocks.config, "position_from": start, "padding": "front", **norms,
              "scale": "none" if norms["embedding_norm"] else "root"}
    blocks.config["norm"] = "post" if norms["embedding_norm"] or not norms["final_norm"] else (
        "query" if blocks.by_role else "pre")
    if blocks.by_role and not norms["embedding_norm"]:
        blocks.config["eps"] = 1e-8  # as the implementation with these names has it
    blocks.config["eps"] = settings.get("blocks.eps", blocks.config["eps"])
    asked = (*_ask_blocks(blocks.config, ids.n_in, ("post", "pre", "query")), PADDING,
             Question(key="scale", text="Are the items' vectors multiplied by the root of their width?",
                      choices=("root", "none"), answer=config["scale"]))
    fields = (Field("history", "multi", ids.n_out, place.n_out - start), Field("item", rows=ids.n_out))
    return Recognised("sequence", "SASRec", config, fields,
                      weights | blocks.weights | {"item.weight": ids.weight, "place.weight": place.weight}, asked)


def _text(ids: Leaf, place: Leaf, blocks: _Blocks, score: Leaf, settings: Settings) -> Recognised | None:
    blocks.left.remove(score)
    norms, weights = _outer_norms(blocks)
    pool = [leaf for leaf in blocks.left if leaf.kind == "linear" and (leaf.n_in, leaf.n_out) == (ids.n_in,) * 2]
    if norms is None or len(pool) > 1 or len(pool) != len(blocks.left):
        return None
    config = {"embedding_dim": ids.n_in, "length": place.n_out, "blocks": blocks.config, **norms,
              "pool": "first", "pool_layer": bool(pool), "pool_activation": "tanh"}
    blocks.config |= {"norm": "pre" if norms["final_norm"] else "post", "activation": "gelu"}
    weights |= blocks.weights | with_bias("output", score) | {"token.weight": ids.weight, "place.weight": place.weight}
    if pool:
        weights |= with_bias("pool_layer", pool[0])
    asked = (*_ask_blocks(blocks.config, ids.n_in, ("post", "pre")),
             Question(key="pool", text="Is the score taken from the first token or from the mean of all?",
                      choices=("first", "mean"), answer="first"),
             Question(key="pool_activation", text="Which activation stands before the last layer?",
                      choices=("tanh", "none", "relu", "gelu"), answer="tanh"))
    fields = (Field("tokens", "multi", ids.n_out, place.n_out),)
    return Recognised("text_encoder", "transformer over tokens", config, fields, weights, asked)


def _ask_blocks(config: dict[str, Any], dim: int, norms: tuple[str, ...]) -> tuple[Question, ...]:
    heads = tuple(count for count in range(1, MAX_HEADS + 1) if dim % count == 0 and (dim // count > 1 or count == 1))
    return (Question(key="blocks.heads", text="How many heads has the attention?", choices=heads, answer=1),
            Question(key="blocks.norm", choices=norms, answer=config["norm"],
                     text="Do the norms stand after each sum (post), before each part (pre), or before the queries?"),
            Question(key="blocks.activation", text="Which activation has the network in a block?",
                     choices=ACTIVATIONS[:4], answer=config["activation"]))


def _blocks(leaves: list[Leaf], dim: int) -> _Blocks | None:
    """Attentions, their networks and their two norms each; None where the counts don't fit."""
    attentions = _attentions(leaves)
    if not attentions:
        return None
    used = {leaf for parts in attentions for leaf in parts.values()}
    free = [leaf for leaf in leaves if leaf not in used and leaf.kind == "linear"]
    feeds = [(one, two) for one, two in pairwise(free)
             if one.n_in == dim == two.n_out and one.n_out == two.n_in and one.n_out > 1
             and not one.named("pool|head|cls")]
    feeds = _disjoint(feeds)[:len(attentions)]
    norms = of_kind(leaves, "layer_norm")
    first = [leaf for leaf in norms if leaf.named("att")]
    second = [leaf for leaf in norms if leaf.named("forward|ffn|feed")]
    by_role = len(first) == len(second) == len(attentions)
    if not by_role:
        inner = [leaf for leaf in norms if not leaf.named("last|final|fin$|emb")][:2 * len(attentions)]
        first, second = inner[::2], inner[1::2]
    if not len(feeds) == len(first) == len(second) == len(attentions):
        return None
    weights: dict[str, Tensor] = {}
    for place, parts in enumerate(attentions):
        for role, leaf in parts.items():
            if role == "packed":
                continue
            weights |= with_bias(f"blocks.{place}.attention.{role}", leaf)
        for role, leaf in (("widen", feeds[place][0]), ("narrow", feeds[place][1]), ("first_norm", first[place]),
                           ("second_norm", second[place])):
            weights |= with_bias(f"blocks.{place}.{role}", leaf)
    used |= {leaf for pair in feeds for leaf in pair} | {*first, *second}
    config = {"n_blocks": len(attentions), "heads": 1, "norm": "post", "feed_width": feeds[0][0].n_out,
              "activation": "relu", "attention_bias": "bias" in attentions[0]["query"].tensors,
              "attention_output": "out" in attentions[0], "eps": 1e-5}
    return _Blocks(config, weights, [leaf for leaf in leaves if leaf not in used], by_role)


def _attentions(leaves: list[Leaf]) -> list[dict[str, Leaf]]:
    """query, key, value and, where there is one, out of each block, as dense layers."""
    packed = of_kind(leaves, "attention")
    if packed:
        return [_unpacked(leaf) for leaf in packed]
    roles = {"query": r"(^|[._])(query|q|wq|q_proj)$", "key": r"(^|[._])(key|k|wk|k_proj)$",
             "value": r"(^|[._])(value|v|wv|v_proj)$"}
    found = {role: [leaf for leaf in leaves if leaf.kind == "linear" and leaf.named(words)]
             for role, words in roles.items()}
    if len({len(one) for one in found.values()}) != 1 or not found["query"]:
        return []
    taken = {leaf for one in found.values() for leaf in one}
    outs = [leaf for leaf in leaves if leaf.kind == "linear" and leaf.n_in == leaf.n_out
            and leaf.named(r"att[\w.]*(dense|out|proj|wo|o)$") and leaf not in taken]
    if len(outs) == len(found["query"]):
        found["out"] = outs
    return [dict(zip(found, parts, strict=True)) for parts in zip(*found.values(), strict=True)]


def _unpacked(leaf: Leaf) -> dict[str, Leaf]:
    names = ("query", "key", "value")
    weights = leaf.tensors["in_proj_weight"].chunk(3)
    biases = leaf.tensors["in_proj_bias"].chunk(3) if "in_proj_bias" in leaf.tensors else ()
    parts = {name: Leaf(f"{leaf.path}.{name}", "linear", {"weight": weights[place]} | (
        {"bias": biases[place]} if biases else {})) for place, name in enumerate(names)}
    parts["out"] = Leaf(f"{leaf.path}.out", "linear", {
        name.removeprefix("out_"): tensor for name, tensor in leaf.tensors.items() if name.startswith("out_")})
    parts["packed"] = leaf
    return parts


def _disjoint(pairs: list[tuple[Leaf, Leaf]]) -> list[tuple[Leaf, Leaf]]:
    kept: list[tuple[Leaf, Leaf]] = []
    for pair in pairs:
        if not kept or kept[-1][1] is not pair[0]:
            kept.append(pair)
    return kept


def _outer_norms(blocks: _Blocks) -> tuple[dict[str, bool] | None, dict[str, Tensor]]:
    """The norm after the tables and the one at the end, taken out of what is left."""
    norms = of_kind(blocks.left, "layer_norm")
    if len(norms) > 1 and not norms[0].named("emb"):
        return None, {}
    weights: dict[str, Tensor] = {}
    named = {"embedding_norm": False, "final_norm": False}
    for leaf in norms:
        last = leaf.named("last|final|fin") or (leaf is norms[-1] and not leaf.named(r"emb|^layernorm$"))
        role = "final_norm" if last else "embedding_norm"
        if named[role]:
            return None, {}
        named[role] = True
        weights |= with_bias(role, leaf)
        blocks.left.remove(leaf)
    return named, weights
