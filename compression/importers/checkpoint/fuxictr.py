"""Weights of FuxiCTR beside its feature map: fields, vocabularies and settings are its own, and nothing is guessed.

    told = told_by_fuxictr({"feature_map.json": path, "feature_vocab.json": path, "model_config.yaml": path})
    told.recogniser(state, "DeepFM_made.model", Settings({}, told.settings))

FuxiCTR gives an id that it never saw the row __OOV__. That row becomes row 0 here, which is what unknown ids read.
Source: FuxiCTR 2.3, fuxictr/pytorch/layers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compression.importers.checkpoint.recognised import Field, Recognised, Settings, chain_parts, with_bias
from compression.importers.checkpoint.skeleton import Leaf, leaves_of, of_kind
from compression.importers.checkpoint.told import MAX_NAMES, Told, activation, common, parsed, text_of
from compression.spec.errors import ModelError
from compression.spec.records import Question

MAP, VOCABULARY = "feature_map.json", "feature_vocab.json"
MODELS = {"LR": "logistic regression", "FM": "factorisation machine", "DeepFM": "DeepFM", "WideDeep": "Wide & Deep",
          "DNN": "network over fields", "DCNv2": "DCN v2"}
_TABLE = re.compile(r"^(embedding_layer|(?:\w+\.)?lr_layer\.embedding_layer)\.embedding_layer\.embedding_layers\."
                    r"([^.]+)\.weight$")
_BIAS = re.compile(r"^(?:\w+\.)?lr_layer\.bias$")
_NETWORK = r"^(mlp|dnn|parallel_dnn|stacked_dnn)\."
_POOLING = {"MaskedAveragePooling": "mean", "MaskedSumPooling": "sum"}
_OOV, _PAD = "__OOV__", "__PAD__"


@dataclass(frozen=True)
class _Source:
    features: dict[str, dict[str, Any]]  # in the order in which their vectors stand
    rows: dict[str, dict[str, int]]  # column → value → row
    experiments: dict[str, dict[str, Any]]
    told: Told


def told_by_fuxictr(files: dict[str, Path]) -> Told:
    """What the feature map and the files beside it say. Raises ModelError for one that can't be read."""
    found = parsed(text_of(files[MAP], MAP), MAP).get("features")
    features = {name: about for one in (found if isinstance(found, list) else []) if isinstance(one, dict)
                for name, about in one.items() if isinstance(about, dict) and about.get("type") != "meta"}
    if not features or len(features) > MAX_NAMES:
        raise ModelError(f"{MAP} names {len(features)} features; FuxiCTR writes a list of them, and at most "
                         f"{MAX_NAMES} are read.")
    plain = parsed(text_of(files[VOCABULARY], VOCABULARY), VOCABULARY) if VOCABULARY in files else {}
    rows = {name: tokens for name, tokens in plain.items() if isinstance(tokens, dict) and tokens and all(
        type(row) is int and row >= 0 for row in tokens.values())}
    told = Told(recogniser=None)
    if any(about.get("type") == "numeric" for about in features.values()):
        told.notes.append("FuxiCTR keeps how it scaled numbers in a pickle (feature_processor.pkl), which is not read: "
                          "give numbers as the model saw them, or their mean and std in the binding.")
    told.recogniser = partial(_recognise, _Source(features, rows, _experiments(files), told))
    return told


def _experiments(files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Settings of models by the name of their experiment, from every YAML in the upload."""
    found: dict[str, dict[str, Any]] = {}
    for name, path in files.items():
        if name.endswith((".yaml", ".yml")):
            plain = parsed(text_of(path, name), name)
            base = plain.get("Base") if isinstance(plain.get("Base"), dict) else {}
            found |= {str(key): base | one for key, one in plain.items() if isinstance(one, dict) and "model" in one}
            found |= {name.rpartition(".")[0]: plain} if isinstance(plain.get("model"), str) else {}
    return found


def _recognise(source: _Source, state: dict[str, Tensor], name: str, settings: Settings) -> Recognised:
    """The model by the names that FuxiCTR gives. Raises ModelError for anything in it that is known by no name."""
    stem = name.rpartition(".")[0]
    chosen = source.experiments.get(stem) or (
        next(iter(source.experiments.values())) if len(source.experiments) == 1 else {})
    model = chosen.get("model")
    if isinstance(model, str) and re.sub(r"_(torch|tf)$", "", model) not in MODELS:
        raise ModelError(f"{name} holds FuxiCTR's {model[:60]}, which RecPress can't rebuild. Read from FuxiCTR are "
                         f"{', '.join(MODELS)}. Export the model to ONNX or .pt2.")
    settings.came |= {key: value for key, value in common(chosen).items() if key == "dropout"}
    activations = next((chosen[key] for key in ("dnn_activations", "hidden_activations") if key in chosen), None)
    if isinstance(activations, list) and activations and all(one == activations[0] for one in activations):
        activations = activations[0]
    if activation(activations):
        settings.came["mlp.activation"] = activation(activations)
    vectors, first, rest = _parted(state)
    fields, tables = _fields(source, vectors or first, name, settings)
    config: dict[str, Any] = {
        "embedding_dim": 1, "vectors": bool(vectors), "first_order": bool(first), "bias": "bias" in rest,
        "pairs": any(key.startswith(("fm.", "fm_layer.")) for key in state), "first_order_pooling": "sum",
        "numbers": "vectors" if any(one.kind == "number" for one in fields) else "none", **tables.pooled}
    weights = {"bias.bias": rest.pop("bias").reshape(-1)} if config["bias"] else {}
    for part, found in (("tables", vectors), ("first_order", first)):
        if found and set(found) != {one.name for one in fields}:
            raise ModelError(f"{name} and {MAP} don't belong together: the weights have tables of "
                             f"{', '.join(sorted(found))[:200]}.")
        weights |= {f"{part}[{one.name}]": tables.ordered(one, found[one.name]) for one in fields if found}
    widths = {tensor.shape[-1] for key, tensor in weights.items() if key.startswith("tables")}
    if len(widths) > 1:
        raise ModelError(f"The tables in {name} are of the widths {sorted(widths)}; tables of one width are read. "
                         "Export the model to ONNX or .pt2.")
    config["embedding_dim"] = widths.pop() if widths else 1
    more, deep, asked = _deep(leaves_of(rest), name, settings)
    source.told.vocabularies = tables.vocabularies
    return Recognised("field_ranker", f"{_title(config | more)} of FuxiCTR", config | more, tuple(fields),
                      weights | deep, asked)


def _parted(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(vectors by field, weights of first order by field, everything else, with the bias of first order as "bias")."""
    vectors: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for key, tensor in state.items():
        table = _TABLE.match(key)
        if table:
            (vectors if table[1] == "embedding_layer" else first)[table[2]] = tensor
        else:
            rest["bias" if _BIAS.match(key) else key] = tensor
    return vectors, first, rest


@dataclass
class _Tables:
    """How lists are pooled, and which row of FuxiCTR's stands at which place here, by field."""

    pooled: dict[str, Any]
    places: dict[str, Tensor]
    vocabularies: dict[str, list[str]]

    def ordered(self, field: Field, table: Tensor) -> Tensor:
        if field.kind == "number":
            return table.reshape(-1)
        return table[self.places[field.name]] if field.name in self.places else table


def _fields(source: _Source, tables: dict[str, Tensor], name: str, settings: Settings) -> tuple[list[Field], _Tables]:
    """Fields in the order of the feature map. Raises ModelError for a kind of feature that is not read."""
    fields: list[Field] = []
    found = _Tables({}, {}, {})
    poolings, padded = set(), False
    for column, about in source.features.items():
        kind, table = about.get("type"), tables.get(column)
        if table is None:
            continue  # not among the features this model uses
        if kind not in ("categorical", "numeric", "sequence") or table.dim() != 2 or not len(table):
            raise ModelError(f"The feature {column!r} of {name} is of the type {str(kind)[:40]!r}; categorical, "
                             "numeric and sequence are read. Export the model to ONNX or .pt2.")
        if kind == "numeric":
            fields.append(Field(column, "number"))
            continue
        if kind == "sequence":
            word = re.fullmatch(r"layers\.(\w+)\(\)", str(about.get("feature_encoder")))
            poolings.add(_POOLING.get(word[1] if word else ""))
            padded |= bool(table[0].any())
        places = _places(source.rows.get(column, {}), len(table), of_list=kind == "sequence")
        if places is not None:
            found.places[column], found.vocabularies[column] = places
        rows = len(table) if places is None else len(places[0])
        fields.append(Field(column, "multi" if kind == "sequence" else "category", rows))
    if len(poolings) > 1 or None in poolings:
        raise ModelError(f"The sequences of {name} are pooled in several ways, or by an encoder that is not read "
                         f"({MAP}, feature_encoder). Read are {' and '.join(_POOLING)}.")
    if poolings:
        found.pooled = {"pooling": poolings.pop(), "skip_padding": not padded}
    return fields, found


def _places(rows: dict[str, int], n_rows: int, *, of_list: bool) -> tuple[Tensor, list[str]] | None:
    """(the row of FuxiCTR's at each place, values from place 1 on): unknown ids first, for a list its padding."""
    words = sorted((word for word in rows if word not in (_OOV, _PAD)), key=rows.__getitem__)
    start = rows.get(_PAD if of_list else _OOV, 0)
    if not words or max(max(rows.values()), start) >= n_rows:
        return None
    return torch.tensor([start, *(rows[word] for word in words)]), words


def _deep(leaves: tuple[Leaf, ...], name: str, settings: Settings
          ) -> tuple[dict[str, Any], dict[str, Tensor], tuple[Question, ...]]:
    """Cross layers, one network, last layer. Raises ModelError that names what else there is."""
    linears = [leaf for leaf in of_kind(leaves, "linear") if leaf.named(_NETWORK)]
    norms = [leaf for leaf in of_kind(leaves, "batch_norm") if leaf.named(_NETWORK)]
    cross = [leaf for leaf in of_kind(leaves, "linear") if leaf.named(r"^crossnet\.cross_layers\.\d+$")]
    last = [leaf for leaf in of_kind(leaves, "linear") if leaf.path == "fc"]
    odd = [leaf.path[:60] for leaf in leaves if leaf not in [*linears, *norms, *cross, *last]]
    networks = {leaf.path.partition(".")[0] for leaf in linears}
    if odd or len(networks) > 1:
        raise ModelError(f"{name} holds parts of FuxiCTR that RecPress can't rebuild: "
                         f"{', '.join(odd[:5] or sorted(networks))}. Read are {', '.join(MODELS)}. Export the model "
                         "to ONNX or .pt2.")
    more: dict[str, Any] = {}
    weights: dict[str, Tensor] = {}
    asked: tuple[Question, ...] = ()
    if linears:
        parts = chain_parts("mlp", linears, norms, settings, followed=bool(last))
        if parts is None:
            raise ModelError(f"The batch normalisation in {name} doesn't stand between the layers of its network, "
                             "which is not read. Export the model to ONNX or .pt2.")
        more["mlp"], found, questions = parts
        more["mlp"] |= {"last": "activated" if last else "plain", "batch_norm": "before" if norms else "none"}
        weights |= found
        asked = tuple(one for one in questions if one.key == "mlp.activation")
    for place, leaf in enumerate(cross):
        weights |= with_bias(f"cross.{place}", leaf)
    if cross:
        more |= {"cross_layers": len(cross), "structure": "stacked" if "stacked_dnn" in networks else "parallel"}
    if last:
        more |= {"output": True, "output_bias": "bias" in last[0].tensors, "output_order": "cross first"}
        weights |= with_bias("output", last[0])
    return more, weights, asked


def _title(config: dict[str, Any]) -> str:
    if config.get("cross_layers"):
        return MODELS["DCNv2"]
    if not config["vectors"]:
        return MODELS["LR"]
    if not config.get("mlp"):
        return MODELS["FM"]
    return MODELS["DeepFM" if config["pairs"] else "WideDeep" if config["first_order"] else "DNN"]
