"""Recognise two towers, recurrent histories and convolutions over tokens."""

from __future__ import annotations

import re
from typing import Any

from compression.importers.checkpoint.recognised import (
    OUTPUT_FORM,
    Field,
    Recognised,
    Settings,
    chain_parts,
    held_scale,
    padded_with,
    who_reads,
    with_bias,
)
from compression.importers.checkpoint.skeleton import Leaf, chained, of_kind
from compression.spec.records import Question

GUESSED_LENGTH = 50
SIDES = ("user", "item")
_USER = r"user|query|left|customer|member|anchor|(^|[._])u([._]|$)"
_ITEM = r"item|doc|right|cand|product|movie|passage|target|(^|[._])(i|ad)([._]|$)"
PADDING = Question(key="padding", text="Do the zeros of a short history stand in front of it or at its end?",
                   choices=("front", "end"), answer="front")


def recognise_towers(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """Two tables, a chain of dense layers from each, both as wide at the end."""
    tables, linears, norms = (of_kind(leaves, kind) for kind in ("table", "linear", "batch_norm"))
    scales = [leaf for leaf in of_kind(leaves, "tensor") if leaf.weight.numel() == 1]
    names = _by_side(list(dict.fromkeys(_top(leaf) for leaf in linears)))
    if len(tables) != 2 or names is None or len(leaves) != len(tables) + len(linears) + len(norms) + len(scales):
        return None
    tables = _as_sides(tables, names)
    chains = [[leaf for leaf in linears if _top(leaf) == name] for name in names]
    if any(len(chained(chain)) != 1 or chain[0].n_in != table.n_in
           for table, chain in zip(tables, chains, strict=True)):
        return None
    if chains[0][-1].n_out != chains[1][-1].n_out or chains[0][-1].n_out == 1 or len(scales) > 1:
        return None
    config: dict[str, Any] = {"compare": "cosine", "scale": settings.get("scale", 1.0)}
    weights, asked = {}, []
    for side, name, table, chain in zip(SIDES, names, tables, chains, strict=True):
        parts = chain_parts(f"{side}_tower", chain, [leaf for leaf in norms if _top(leaf) == name], settings,
                            followed=True, last="plain")
        if parts is None:
            return None
        config |= {f"{side}_dim": table.n_in, f"{side}_tower": parts[0]}
        weights |= parts[1] | {f"{side}.weight": table.weight}
        asked += parts[2]
    if len(norms) != sum(name.endswith("running_var") for name in weights):
        return None
    asked += who_reads(tables[0], settings)
    asked.append(Question(key="compare", text="Are the towers compared by cosine or by dot product?",
                          choices=("cosine", "dot"), answer="cosine"))
    if scales:
        config["scale"] = held_scale(scales[0]) or float(scales[0].weight)
    asked += [Question(key="scale", text="By which number is the comparison multiplied (1 / temperature)?",
                       answer=config["scale"]), OUTPUT_FORM]
    fields = tuple(Field(side, rows=table.n_out) for side, table in zip(SIDES, tables, strict=True))
    return Recognised("towers", "two towers", config, fields, weights, tuple(asked))


def _top(leaf: Leaf) -> str:
    return leaf.path.split(".")[0]


def _by_side(names: list[str]) -> list[str] | None:
    """Two names, the user's first; None where they don't say it: such chains may be anything, as layers of a graph."""
    users = [name for name in names if re.search(_USER, name.lower()) and not re.search(_ITEM, name.lower())]
    items = [name for name in names if re.search(_ITEM, name.lower()) and name not in users]
    if len(names) != 2 or len(users) > 1 or len(items) > 1 or not (users or items):
        return None
    return [users[0] if users else next(name for name in names if name not in items),
            items[0] if items else next(name for name in names if name not in users)]


def _as_sides(tables: list[Leaf], names: list[str]) -> list[Leaf]:
    """The tables in the order of the sides: one that stands in a tower is its, then by name, else in the file's order.
    """
    inside = [[table for table in tables if _top(table) == name] for name in names]
    if [len(one) for one in inside] == [1, 1]:
        return [one[0] for one in inside]
    paths = _by_side([table.path for table in tables])
    return tables if paths is None else sorted(tables, key=lambda table: paths.index(table.path))


def recognise_recurrent(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """A GRU after a table, and perhaps a dense layer back to the table's width."""
    tables, grus, linears = (of_kind(leaves, kind) for kind in ("table", "gru", "linear"))
    if len(grus) != 1 or len(tables) != 1 or len(linears) > 1 or len(leaves) != 2 + len(linears):
        return None
    gru, table = grus[0].tensors, tables[0]
    hidden = gru["weight_hh_l0"].shape[1]
    if gru["weight_ih_l0"].shape[1] != table.n_in or (linears and (
            linears[0].n_in, linears[0].n_out) != (hidden, table.n_in)) or (not linears and hidden != table.n_in):
        return None
    length = int(settings.get("length", GUESSED_LENGTH))
    config = {"embedding_dim": table.n_in, "length": length, "hidden": hidden, "bias": "bias_ih_l0" in gru,
              "n_layers": sum(name.startswith("weight_ih_l") for name in gru), "output": bool(linears),
              "padding": "front"}
    weights = {"item.weight": table.weight} | {f"gru.{name}": tensor for name, tensor in gru.items()}
    if linears:
        weights |= with_bias("output", linears[0])
    asked = (Question(key="length", text="How many items of the history does the model read?", answer=length), PADDING,
             *padded_with(table, settings))
    fields = (Field("history", "multi", table.n_out, length), Field("item", rows=table.n_out))
    return Recognised("recurrent", "GRU4Rec", config, fields, weights, asked)


def recognise_text_cnn(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """One table, convolutions that read its width, and a chain from all filters to one score."""
    tables, convs, linears = (of_kind(leaves, kind) for kind in ("table", "conv", "linear"))
    if len(tables) != 1 or not convs or not linears or len(leaves) != 1 + len(convs) + len(linears):
        return None
    if any(leaf.n_in != tables[0].n_in or "bias" not in leaf.tensors for leaf in convs):
        return None
    if len(chained(linears)) != 1 or linears[0].n_in != sum(leaf.n_out for leaf in convs) or linears[-1].n_out != 1:
        return None
    length = int(settings.get("length", GUESSED_LENGTH))
    network, weights, asked = chain_parts("mlp", linears, [], settings, followed=False)
    config = {"embedding_dim": tables[0].n_in, "length": length, "mlp": network, "same_length": True,
              "activation": "relu", "pool": "max", "filters": [[leaf.n_out, leaf.weight.shape[2]] for leaf in convs]}
    weights |= {"token.weight": tables[0].weight}
    for place, leaf in enumerate(convs):
        weights |= with_bias(f"filters.{place}", leaf)
    asked += [*padded_with(tables[0], settings),
              Question(key="length", text="How many tokens does the model read?", answer=length),
              Question(key="activation", text="Which activation follows the convolutions?",
                       choices=("relu", "tanh", "none"), answer="relu"),
              Question(key="pool", choices=("max", "mean"), answer="max",
                       text="Is the largest answer of each filter taken, or the mean?"),
              Question(key="same_length", text="Are the convolutions padded to keep the length?",
                       choices=(True, False), answer=True), OUTPUT_FORM]
    fields = (Field("tokens", "multi", tables[0].n_out, length),)
    return Recognised("text_cnn", "convolutions over tokens", config, fields, weights, tuple(asked))
