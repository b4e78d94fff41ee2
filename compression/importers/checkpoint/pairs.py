"""Recognise users and items: MF, GMF, NeuMF, and a network over both vectors."""

from __future__ import annotations

from itertools import product
from math import isfinite
from typing import Any

from torch import Tensor, tensor

from compression.importers.checkpoint.graph import MAX_LAYERS, graph_question
from compression.importers.checkpoint.recognised import (
    OUTPUT_FORM,
    Field,
    Recognised,
    Settings,
    chain_parts,
    held_scale,
    who_reads,
    with_bias,
)
from compression.importers.checkpoint.skeleton import Leaf, chained, of_kind
from compression.spec.errors import ModelError
from compression.spec.records import Question

CONSTANT = "constant"
_USER = r"user|uid|customer|member|_u\b|\bu_|\bu\b|_p\b"
_ITEM = r"item|iid|movie|product|book|song|_i\b|\bi_|\bi\b|_q\b"


def recognise_pair(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """A model of users and items by its two or four tables; None where anything in it doesn't fit one."""
    tables, linears = of_kind(leaves, "table"), of_kind(leaves, "linear")
    wide = [leaf for leaf in tables if leaf.n_in > 1]
    if any(leaf.named("token_embedding_table|first_order|lr_layer") for leaf in tables):
        return None  # fields, as RecBole and FuxiCTR name them
    users, items = _sides(wide)
    if len(users) != len(items) or len(users) not in (1, 2) or len(users) + len(items) != len(wide):
        return None
    rows = users[0].n_out, items[0].n_out
    if any(leaf.n_out != count for side, count in zip((users, items), rows, strict=True) for leaf in side):
        return None
    vectors = [leaf for leaf in tables if leaf.n_in == 1] + [
        leaf for leaf in of_kind(leaves, "tensor") if leaf.weight.dim() == 1 and leaf.weight.numel() in rows]
    layers = [leaf for leaf in of_kind(leaves, "tensor") if leaf not in vectors and leaf.weight.dim() == 1
              and leaf.named(r"(^|\.)alphas?$") and 1 < leaf.weight.numel() <= MAX_LAYERS + 1]
    single = [leaf for leaf in of_kind(leaves, "tensor") if leaf.weight.numel() == 1]
    scales = [leaf for leaf in single if held_scale(leaf) is not None]
    means = [leaf for leaf in single if leaf not in scales]
    used = {*wide, *linears, *vectors, *single, *layers, *of_kind(leaves, "batch_norm")}
    if len(vectors) not in (0, 2) or len(means) > 1 or len(scales) > 1 or len(layers) > 1 or used != set(leaves):
        return None
    found = _parts(users, items, linears, of_kind(leaves, "batch_norm"), settings)
    if found is None:
        return None
    config, weights, asked = found
    if vectors:
        by_side = _sides(vectors) if rows[0] == rows[1] else (
            [leaf for leaf in vectors if leaf.weight.shape[0] == rows[0]],
            [leaf for leaf in vectors if leaf.weight.shape[0] == rows[1]])
        if [len(side) for side in by_side] != [1, 1]:
            return None
        config["biases"] = True
        weights |= {"user_bias.weight": by_side[0][0].weight.reshape(-1, 1),
                    "item_bias.weight": by_side[1][0].weight.reshape(-1, 1)}
    constant = None if means or not vectors else _constant(settings)
    if means or constant:
        config["mean"] = True
        weights["mean.bias"] = means[0].weight.reshape(1) if means else tensor([constant])
    if constant is not None:
        asked.append(Question(key=CONSTANT, answer=constant,
                              text="Which constant is added to every score, such as the mean of all ratings?"))
    layer_weights = layers[0].weight if layers else None
    asked += who_reads(users[0], settings)
    asked += _comparison(config, scales, layer_weights, settings)
    fields = (Field("user", rows=rows[0]), Field("item", rows=rows[1]))
    return Recognised("pair", _title(config), config, fields, weights, (*asked, OUTPUT_FORM),
                      layer_weights=layer_weights)


def _constant(settings: Settings) -> float:
    """The mean of ratings that code adds and no weight holds. Raises ModelError for an answer that is no number."""
    said = settings.get(CONSTANT, 0.0)
    if isinstance(said, bool) or not isinstance(said, int | float) or not isfinite(said):
        raise ModelError(f"The answer to {CONSTANT!r} is a number, such as 3.53; got {str(said)[:60]!r}.")
    return float(said)


def _comparison(config: dict[str, Any], scales: list[Leaf], layer_weights: Tensor | None, settings: Settings
                ) -> list[Question]:
    """What two tables alone leave open: dot product or cosine, its scale, and whether a graph was between them."""
    if config["output"] != "sum" or config.get("mlp"):
        return []
    scale = held_scale(scales[0]) if scales else float(settings.get("scale", 1.0))
    guess = "cosine" if scales else "dot"
    config |= {"compare": guess, "scale": scale, "graph_layers": 0 if layer_weights is None else len(layer_weights) - 1}
    asked = [Question(key="compare", choices=("dot", "cosine", "distance", "squared distance"), answer=guess,
                      text="Are the vectors compared by dot product, by cosine, or by their negative Euclidean "
                           "distance (as it is, or squared)?"),
             Question(key="scale", answer=scale,
                      text="By which number is the comparison multiplied (1 / temperature)?")]
    return asked if config.get("biases") or layer_weights is not None else [*asked, graph_question()]


def _sides(leaves: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Tables of users and of items: by name, else in turn."""
    users = [leaf for leaf in leaves if leaf.named(_USER) and not leaf.named(r"item")]
    items = [leaf for leaf in leaves if leaf.named(_ITEM) and leaf not in users]
    if len(users) == len(items) and len(users) + len(items) == len(leaves):
        return users, items
    numbered = leaves and all(leaf.path.split(".")[-1].isdigit() for leaf in leaves)
    return ([], []) if numbered else (leaves[::2], leaves[1::2])


def _parts(users: list[Leaf], items: list[Leaf], linears: list[Leaf], norms: list[Leaf], settings: Settings
           ) -> tuple[dict[str, Any], dict[str, Tensor], list[Question]] | None:
    """Which tables are multiplied, which go through the network, and what stands at the end."""
    for roles in _roles(users, items):
        mine, theirs = roles.get("product"), roles.get("mlp")
        if mine and mine[0].n_in != mine[1].n_in:
            continue
        found = _ended(mine[0].n_in if mine else 0, theirs[0].n_in + theirs[1].n_in if theirs else 0, linears)
        if found is None:
            continue
        network, output = found
        config: dict[str, Any] = {"product_dim": mine[0].n_in if mine else 0}
        weights, asked = {}, []
        for part, pair in roles.items():
            weights |= {f"user_{part}.weight": pair[0].weight, f"item_{part}.weight": pair[1].weight}
        if theirs:
            config |= {"user_mlp_dim": theirs[0].n_in, "item_mlp_dim": theirs[1].n_in}
            parts = chain_parts("mlp", network, norms, settings, followed=output is not None)
            if parts is None:
                continue
            config["mlp"], more, asked = parts
            weights |= more
            config["networks_order"] = "user first"
            asked.append(Question(key="networks_order", choices=("user first", "item first"), answer="user first",
                                  text="Whose vector does the network read first?"))
        elif norms:
            continue
        over = "joined" if mine and theirs else "network" if theirs else "product"
        config["output"] = "sum" if output is None else over
        if output is not None:
            config["output_bias"] = "bias" in output.tensors
            weights |= with_bias("output", output)
        if config["output"] == "joined":
            guess = "network" if output.named("affine") else "product"
            config["first"] = guess
            asked.append(Question(key="first", choices=("product", "network"), answer=guess,
                                  text="What does the last layer read first: the vectors' product or the network?"))
        return config, weights, asked
    return None


def _roles(users: list[Leaf], items: list[Leaf]) -> list[dict[str, tuple[Leaf, Leaf]]]:
    """Ways to read the tables: which pair is multiplied, which feeds the network; the likeliest first."""
    if len(users) == 1:
        return [{"product": (users[0], items[0])}, {"mlp": (users[0], items[0])}]
    found = [{"product": (users[a], items[b]), "mlp": (users[1 - a], items[1 - b])}
             for a, b in product((0, 1), (0, 1))]

    def unlikely(roles: dict[str, tuple[Leaf, Leaf]]) -> int:
        return sum(leaf.named("mlp|deep|dnn") for leaf in roles["product"]) + sum(
            leaf.named("mf|gmf|prod") for leaf in roles["mlp"])
    return sorted(found, key=unlikely)


def _ended(n_product: int, n_network: int, linears: list[Leaf]) -> tuple[list[Leaf], Leaf | None] | None:
    """The network and the layer at the end, if these dense layers are them and nothing more."""
    if not n_network:
        if not linears:
            return [], None
        last = linears[0]
        return ([], last) if len(linears) == 1 and (last.n_out, last.n_in) == (1, n_product) else None
    chains = chained(linears)
    if len(chains) == 1 and chains[0][0].n_in == n_network and chains[0][-1].n_out == 1:
        chain = chains[0]
        if n_product:  # a network of width 1 is added to the product
            return chain, None
        ends = len(chain) > 1 and chain[-1].path.split(".")[0] != chain[-2].path.split(".")[0]
        return (chain[:-1], chain[-1]) if ends else (chain, None)
    ordered = sorted(chains, key=lambda one: (one[-1].n_out == 1, one[0].n_in != n_network))  # made in any order
    if len(ordered) != 2 or ordered[0][0].n_in != n_network or len(ordered[1]) != 1:
        return None
    last = ordered[1][0]
    if ordered[0][-1].n_out == 1 and not n_product:
        return None  # the network ends already: a layer of one input beside it reads something else
    return (ordered[0], last) if (last.n_out, last.n_in) == (1, n_product + ordered[0][-1].n_out) else None


def _title(config: dict[str, Any]) -> str:
    if config.get("mlp"):
        return "NeuMF" if config["product_dim"] else "network over users and items"
    return "GMF" if config["output"] == "product" else "matrix factorisation"

