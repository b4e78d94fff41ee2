"""Recognise models of transformer blocks: SASRec and its like, and cross-encoders over tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from torch import Tensor

from compression.importers.checkpoint.others import PADDING
from compression.importers.checkpoint.recognised import (
    ACTIVATIONS,
    OUTPUT_FORM,
    Field,
    Recognised,
    Settings,
    padded_with,
    with_bias,
)
from compression.importers.checkpoint.skeleton import Leaf, of_kind
from compression.spec.records import Question

MAX_HEADS = 32
EPS = (1e-5, 1e-6, 1e-8, 1e-12)
MASKS = ("keys", "states", "both", "none")
# heads that S3-Rec trains before the model itself, and that no score reads
_PRETRAINING = r"^(aap|mip|map|sp)_norm$|^attribute_embeddings$"
_LAST, _FIRST = r"last|final|fin$|(^|\.)ln_f$", r"emb|input|(^|\.)pos"


@dataclass(frozen=True)
class _Habits:
    """What repositories with these names do: the likeliest answers to questions that are asked all the same."""

    names: str
    heads: int = 1
    activation: str = "relu"
    eps: float = 1e-5
    mask: str = "keys"
    padding: str = "front"


_HABITS = (_Habits(r"^trm_encoder\.", 2, "gelu", 1e-12, "keys", "end"),  # RecBole, DuoRec
           _Habits(r"^item_encoder\.", 2, "gelu", 1e-12),  # S3-Rec, CoSeRec
           _Habits(r"^attention_layernorms\.", 1, "relu", 1e-8, "states"),  # ports of the first SASRec
           _Habits(""))


@dataclass
class _Blocks:
    """What the blocks are, and the leaves they leave over. `by_lists`: norms stand in lists of their own, by role."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    left: list[Leaf]
    by_lists: bool
    container: str  # of the blocks: "encoder" of encoder.layers.0
    before: frozenset[Leaf]  # leaves that the file lists before the first block
    spare: tuple[Question, str] | None  # of a list with a norm more than the blocks have: where that one stands
    notes: tuple[str, ...]


def recognise_attention(leaves: tuple[Leaf, ...], settings: Settings) -> Recognised | None:
    """A table of items or tokens, one of places, and blocks; a layer to one score makes it a cross-encoder."""
    unused = [leaf for leaf in leaves if re.search(_PRETRAINING, leaf.path)]
    leaves = tuple(leaf for leaf in leaves if leaf not in unused)
    tables = of_kind(leaves, "table")
    places = [leaf for leaf in tables if leaf.named("pos|place")]
    if len(tables) != 2 or len(places) != 1 or tables[0].n_in != tables[1].n_in:
        return None
    ids = next(leaf for leaf in tables if leaf is not places[0])
    blocks = _blocks([leaf.as_linear() for leaf in leaves if leaf not in tables], ids.n_in, settings)
    if blocks is None:
        return None
    habits = next(one for one in _HABITS if any(re.search(one.names, leaf.path) for leaf in leaves))
    blocks.config |= {"eps": habits.eps, "activation": habits.activation,
                      "heads": habits.heads if ids.n_in % habits.heads == 0 else 1}
    scores = [leaf for leaf in blocks.left if leaf.kind == "linear" and (leaf.n_in, leaf.n_out) == (ids.n_in, 1)]
    found = _text(ids, places[0], blocks, scores[0], settings) if scores else \
        _history(ids, places[0], blocks, habits, settings)
    if found is not None:
        found.questions += tuple(padded_with(ids, settings))
    if found is not None and unused:
        found.notes += (f"Left out, because no score reads it: {', '.join(leaf.path for leaf in unused)}.",)
    return found


def _history(ids: Leaf, place: Leaf, blocks: _Blocks, habits: _Habits, settings: Settings) -> Recognised | None:
    norms, weights, asked_norm = _outer_norms(blocks)
    if norms is None or blocks.left:
        return None
    said, padding_place = settings.get("length"), bool(place.n_out > 1 and not place.weight[0].any())
    start = place.n_out - int(said) if said and 0 <= place.n_out - int(said) <= 2 else int(padding_place)
    has_first = norms["embedding_norm"] or norms["outer_norm"] == "embedding"
    has_last = norms["final_norm"] or norms["outer_norm"] == "final"
    config = {"embedding_dim": ids.n_in, "length": place.n_out - start, "place_rows": place.n_out,
              "blocks": blocks.config, "position_from": start, "padding": habits.padding, **norms,
              "scale": "none" if has_first else "root", "causal": True, "read_from": "last",
              "mask": "none" if habits.mask == "states" and start else habits.mask}
    blocks.config["norm"] = "post" if has_first or not has_last else "query" if blocks.by_lists else "pre"
    asked = (*_ask_blocks(blocks.config, ids.n_in, ("post", "pre", "query"), settings), *asked_norm,
             PADDING.model_copy(update={"answer": config["padding"]}),
             Question(key="mask", choices=MASKS, answer=config["mask"],
                      text="How are the zeros of a short history masked: left out of the attention (keys), set to zero "
                           "around every block (states, a timeline mask), both, or not at all (none)?"),
             Question(key="causal", text="Does a place of the history see only those before it?",
                      choices=(True, False), answer=True),
             Question(key="read_from", choices=("last", "items", "places"), answer="last",
                      text="Is the candidate compared with the state of the last item (last), or with the mean of all "
                           "items' states (items) or of all places', with padding (places)?"),
             Question(key="scale", text="Are the items' vectors multiplied by the root of their width?",
                      choices=("root", "none"), answer=config["scale"]))
    fields = (Field("history", "multi", ids.n_out, place.n_out - start), Field("item", rows=ids.n_out))
    return Recognised("sequence", "SASRec", config, fields,
                      weights | blocks.weights | {"item.weight": ids.weight, "place.weight": place.weight}, asked,
                      blocks.notes)


def _text(ids: Leaf, place: Leaf, blocks: _Blocks, score: Leaf, settings: Settings) -> Recognised | None:
    blocks.left.remove(score)
    norms, weights, asked_norm = _outer_norms(blocks)
    pool = [leaf for leaf in blocks.left if leaf.kind == "linear" and (leaf.n_in, leaf.n_out) == (ids.n_in,) * 2]
    if norms is None or len(pool) > 1 or len(pool) != len(blocks.left):
        return None
    config = {"embedding_dim": ids.n_in, "length": place.n_out, "blocks": blocks.config, **norms,
              "pool": "first", "pool_layer": bool(pool), "pool_activation": "tanh"}
    has_last = norms["final_norm"] or norms["outer_norm"] == "final"
    blocks.config |= {"norm": "pre" if has_last else "post", "activation": "gelu"}
    weights |= blocks.weights | with_bias("output", score) | {"token.weight": ids.weight, "place.weight": place.weight}
    if pool:
        weights |= with_bias("pool_layer", pool[0])
    asked = (*_ask_blocks(blocks.config, ids.n_in, ("post", "pre"), settings), *asked_norm,
             Question(key="pool", text="Is the score taken from the first token or from the mean of all?",
                      choices=("first", "mean"), answer="first"),
             Question(key="pool_activation", text="Which activation stands before the last layer?",
                      choices=("tanh", "none", "relu", "gelu"), answer="tanh"), OUTPUT_FORM)
    fields = (Field("tokens", "multi", ids.n_out, place.n_out),)
    return Recognised("text_encoder", "transformer over tokens", config, fields, weights, asked, blocks.notes)


def _ask_blocks(config: dict[str, Any], dim: int, norms: tuple[str, ...], settings: Settings) -> tuple[Question, ...]:
    heads = tuple(count for count in range(1, MAX_HEADS + 1) if dim % count == 0 and (dim // count > 1 or count == 1))
    eps = sorted({*EPS, config["eps"], *(one for one in [settings.get("blocks.eps")] if type(one) is float)})
    return (Question(key="blocks.heads", text="How many heads does the attention have?", choices=heads,
                     answer=config["heads"]),
            Question(key="blocks.norm", choices=norms, answer=config["norm"],
                     text="Where are the norms: after each sum (post), before each part (pre), or before the queries?"),
            Question(key="blocks.activation", text="Which activation has the network in a block?",
                     choices=ACTIVATIONS[:4], answer=config["activation"]),
            Question(key="blocks.eps", text="What do the norms add to the variance (eps)?", choices=tuple(eps),
                     answer=config["eps"]))


def _blocks(leaves: list[Leaf], dim: int, settings: Settings) -> _Blocks | None:
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
    if len(feeds) != len(attentions):
        return None
    prefixes = [_shared_path([*parts.values(), *feed]) for parts, feed in zip(attentions, feeds, strict=True)]
    spare = _spare(of_kind(leaves, "layer_norm"), prefixes, settings)
    norms, by_lists, in_order = _block_norms(of_kind(leaves, "layer_norm"), prefixes, spare and spare[1])
    if norms is None:
        return None
    weights: dict[str, Tensor] = {}
    for place, parts in enumerate(attentions):
        for role, leaf in parts.items():
            if role == "packed":
                continue
            weights |= with_bias(f"blocks.{place}.attention.{role}", leaf)
        for role, leaf in (("widen", feeds[place][0]), ("narrow", feeds[place][1]), ("first_norm", norms[place][0]),
                           ("second_norm", norms[place][1])):
            weights |= with_bias(f"blocks.{place}.{role}", leaf)
    used |= {leaf for pair in (*feeds, *norms) for leaf in pair}
    config = {"n_blocks": len(attentions), "norm": "post", "feed_width": feeds[0][0].n_out,
              "attention_bias": "bias" in attentions[0]["query"].tensors, "attention_output": "out" in attentions[0]}
    notes = ("Which of the two norms of a block comes first is not in their names: they are taken in the order of the "
             "file.",) if in_order else ()
    container = re.sub(r"(\.|^)[^.]+\.\d+$", "", prefixes[0])
    return _Blocks(config, weights, [leaf for leaf in leaves if leaf not in used], by_lists, container,
                   frozenset(takewhile(lambda leaf: leaf not in used, leaves)), spare, notes)


def _shared_path(leaves: list[Leaf]) -> str:
    """The path of the module that all of them stand in; "" where that is the whole model."""
    paths = [leaf.path.split(".") for leaf in leaves]
    shared: list[str] = []
    for names in zip(*paths, strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared)


def _spare(norms: list[Leaf], prefixes: list[str], settings: Settings) -> tuple[Question, str] | None:
    """Where the first or last of unnamed norms stands that are one more than the blocks have; asked."""
    if all(prefixes) or any(leaf.named(f"{_LAST}|{_FIRST}|att|forward|ffn|feed") for leaf in norms) or \
            len(norms) != 2 * len(prefixes) + 1:
        return None
    asked = Question(key="spare_norm", choices=("final", "embedding"), answer="final",
                     text=f"Of {len(norms)} norms in a row, does the last stand behind the last block (final), or the "
                          "first behind the tables (embedding)?")
    return asked, settings.get("spare_norm", "final")


def _block_norms(norms: list[Leaf], prefixes: list[str], spare: str | None
                 ) -> tuple[list[tuple[Leaf, Leaf]] | None, bool, bool]:
    """(the two norms of each block, whether they stand in lists by role, whether only their order tells them apart).

    Norms belong to the block they stand in. Where blocks are spread over lists, the names say attention or network.
    """
    if all(prefixes) and len(set(prefixes)) == len(prefixes):
        inside = [[leaf for leaf in norms if leaf.path.startswith(f"{prefix}.")] for prefix in prefixes]
        if any(len(found) != 2 for found in inside):
            return None, False, False
        pairs = [_first_and_second(found, len(prefix)) for found, prefix in zip(inside, prefixes, strict=True)]
        return [(one, two) for one, two, _ in pairs], False, not all(told for _, _, told in pairs)
    first = [leaf for leaf in norms if leaf.named("att")]
    second = [leaf for leaf in norms if leaf.named("forward|ffn|feed")]
    if len(first) == len(second) == len(prefixes):
        return list(zip(first, second, strict=True)), True, False
    inner = [leaf for leaf in norms if not leaf.named(f"{_LAST}|{_FIRST}")]
    inner = inner[:-1] if spare == "final" else inner[1:] if spare == "embedding" else inner
    if len(inner) != 2 * len(prefixes):
        return None, False, False
    return list(zip(inner[::2], inner[1::2], strict=True)), False, True


def _first_and_second(norms: list[Leaf], start: int) -> tuple[Leaf, Leaf, bool]:
    """(the attention's norm, the network's, whether their names say so)."""
    names = [leaf.path[start:].lower() for leaf in norms]
    attention = [place for place, name in enumerate(names) if re.search(r"att|(^|[._])sa_", name)]
    if len(attention) == 1:
        return norms[attention[0]], norms[1 - attention[0]], True
    numbers = [re.findall(r"\d+", name)[-1:] for name in names]
    if all(numbers) and numbers[0] != numbers[1]:
        ordered = sorted(norms, key=lambda leaf: int(re.findall(r"\d+", leaf.path)[-1]))
        return ordered[0], ordered[1], True
    network = [place for place, name in enumerate(names) if re.search(r"forward|ffn|feed|mlp|_ff|^\.ff", name)]
    if len(network) == 1:
        return norms[1 - network[0]], norms[network[0]], True
    return norms[0], norms[1], False


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


def _outer_norms(blocks: _Blocks) -> tuple[dict[str, Any] | None, dict[str, Tensor], tuple[Question, ...]]:
    """The norm after the tables and the one at the end, taken out of what is left; one whose name doesn't say where it
    stands is asked about."""
    norms = of_kind(blocks.left, "layer_norm")
    named: dict[str, Any] = {"embedding_norm": False, "final_norm": False, "outer_norm": "none"}
    roles: dict[str, list[Leaf]] = {role: [] for role in named}
    for leaf in norms:
        at_the_end = leaf.named(_LAST) or (blocks.container and leaf.path == f"{blocks.container}.norm")
        roles["final_norm" if at_the_end else "embedding_norm" if leaf.named(_FIRST) else "outer_norm"].append(leaf)
    if any(len(found) > 1 for found in roles.values()):
        return None, {}, ()
    asked: tuple[Question, ...] = (blocks.spare[0],) if blocks.spare else ()
    if blocks.spare:
        roles["final_norm" if blocks.spare[1] == "final" else "embedding_norm"] = roles.pop("outer_norm")
    elif roles["outer_norm"] and len(norms) > 1:  # the other place is taken
        roles["embedding_norm" if roles["final_norm"] else "final_norm"] += roles.pop("outer_norm")
        if any(len(found) > 1 for found in roles.values()):
            return None, {}, ()
    elif roles["outer_norm"]:
        leaf = roles["outer_norm"][0]
        is_first = leaf.path.endswith("LayerNorm") or leaf in blocks.before
        named["outer_norm"] = "embedding" if is_first else "final"
        asked = (Question(key="outer_norm", choices=("embedding", "final"), answer=named["outer_norm"],
                          text=f"Does the norm {leaf.path} stand behind the tables (embedding) or behind the last "
                               "block (final)?"),)
    weights: dict[str, Tensor] = {}
    for role, found in roles.items():
        for leaf in found:
            named[role] = named[role] if role == "outer_norm" else True
            weights |= with_bias(role, leaf)
            blocks.left.remove(leaf)
    return named, weights, asked
