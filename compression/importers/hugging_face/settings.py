"""The settings of a Hugging Face or sentence-transformers folder as those of our encoder. Loads no torch.

What is named in the files (families, activations, modules) is looked up in lists; nothing is imported by name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compression.spec.errors import ModelError

CONFIG, MODULES = "config.json", "modules.json"
_LENGTHS = {"sentence_bert_config.json": "max_seq_length", "tokenizer_config.json": "model_max_length"}
MAX_CONFIG_BYTES = 2_000_000
MODULE_FOLDER = re.compile(r"[0-9]{1,2}_[A-Za-z]{1,40}")
FAMILIES = {"bert": "BERT", "roberta": "RoBERTa", "xlm-roberta": "XLM-RoBERTa", "camembert": "CamemBERT",
            "distilbert": "DistilBERT"}
_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # their places are counted from the padding's id + 1
_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh"}
_DENSE_ACTIVATIONS = {f"torch.nn.modules.activation.{name}": ours for name, ours in (
    ("Tanh", "tanh"), ("ReLU", "relu"), ("GELU", "gelu"), ("Sigmoid", "sigmoid"), ("SiLU", "silu"))} | {
    "torch.nn.modules.linear.Identity": "none"}
_POOLINGS = {"mean": "mean", "cls": "first", "max": "max"}
_OLD_POOLING = re.compile(r"pooling_mode_(.*?)(?:_tokens?)?")  # a switch a kind, before "pooling_mode" named it
_NAMES = {"dim": ("hidden_size", "dim"), "layers": ("num_hidden_layers", "n_layers"),
          "heads": ("num_attention_heads", "n_heads"), "feed": ("intermediate_size", "hidden_dim"),
          "act": ("hidden_act", "activation")}


@dataclass(frozen=True)
class Encoder:
    """Settings of our encoder, the family its weights are named by, and the folders of dense layers behind it."""

    family: str
    title: str
    token_rows: int
    settings: dict[str, Any]
    dense_folders: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    architecture: str = "sentence_encoder"
    labels: tuple[str, str] = ("", "")  # names of the two answers of a classifier


def read_settings(files: dict[str, Path], weights: str) -> Encoder:
    """Raises ModelError naming the family, module or setting that is not read."""
    config = object_of(files, CONFIG)
    family = str(config.get("model_type"))
    if "auto_map" in config:
        raise ModelError(f"{CONFIG} names code of its own (auto_map), which is never run. Export the model to ONNX.")
    if family not in FAMILIES:
        raise ModelError(f"{CONFIG} is of a {family[:40]!r} model; of Hugging Face {', '.join(FAMILIES)} are read. "
                         "Export it to ONNX.")
    for key, plain in (("is_decoder", False), ("add_cross_attention", False), ("position_embedding_type", "absolute")):
        if config.get(key, plain) != plain:
            raise ModelError(f"{CONFIG} says {key} {str(config[key])[:40]!r}, which is not read; {plain!r} is.")
    place_from = _number(config, "pad_token_id", 1) + 1 if family in _FROM_PADDING else 0
    place_rows = _number(config, "max_position_embeddings", 512)
    settings: dict[str, Any] = {
        "embedding_dim": _said(config, "dim"), "place_rows": place_rows, "place_from": place_from,
        "type_rows": 0 if family == "distilbert" else _number(config, "type_vocab_size", 2),
        "length": max(1, place_rows - place_from), "output": "vector",
        "blocks": {"n_blocks": _said(config, "layers"), "heads": _said(config, "heads"), "norm": "post",
                   "feed_width": _said(config, "feed"), "activation": _activation(config),
                   "eps": config.get("layer_norm_eps", 1e-12)}}
    if settings["blocks"]["heads"] < 1 or settings["embedding_dim"] % settings["blocks"]["heads"]:
        raise ModelError(f"{CONFIG} has {settings['blocks']['heads']} heads for a width of "
                         f"{settings['embedding_dim']}, which they don't divide.")
    rows, title = _number(config, "vocab_size", None), FAMILIES[family]
    if _first_architecture(config).endswith("ForSequenceClassification"):
        settings |= {"output": "score", "pool": "first", "pool_layer": True,
                     "pool_activation": "relu" if family == "distilbert" else "tanh"}
        return Encoder(family, f"A cross-encoder of {title}", rows, settings, labels=_labels(config))
    if MODULES in files:
        return _with_modules(files, family, title, rows, settings)
    left_out = "its head over the words was left out, and " if _first_architecture(config).endswith("LM") else ""
    note = (f"No {MODULES} says how tokens become a vector: {left_out}their mean was taken. Upload the "
            "whole folder as a zip if that is wrong.")
    return Encoder(family, title, rows, settings | {"pool": "mean"}, notes=(note,))


def _first_architecture(config: dict[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _labels(config: dict[str, Any]) -> tuple[str, str]:
    named = config.get("id2label")
    named = named if isinstance(named, dict) else {}
    return str(named.get("0", "LABEL_0"))[:60], str(named.get("1", "LABEL_1"))[:60]


def kinds_of_modules(files: dict[str, Path]) -> list[tuple[str, str]]:
    """(kind, folder) of each module of sentence-transformers, in order. Raises ModelError."""
    modules = _plain(files, MODULES)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules) or len(modules) > 12:
        raise ModelError(f"{MODULES} is no list of modules; take the folder again as sentence-transformers saved it.")
    found = []
    for place, one in enumerate(modules):
        kind, path = str(one.get("type", "")), str(one.get("path", ""))
        path = "" if path == "." else path
        if path and not MODULE_FOLDER.fullmatch(path):
            raise ModelError(f"{MODULES} points to {path[:80]!r}; folders such as 1_Pooling are read, paths are not.")
        found.append((kind.rpartition(".")[2] if kind.startswith("sentence_transformers.") else kind,
                      path if place else ""))
    return found


def _with_modules(files: dict[str, Path], family: str, title: str, rows: int, settings: dict[str, Any]) -> Encoder:
    """What sentence-transformers puts behind the encoder, in its order."""
    modules = kinds_of_modules(files)
    kinds = [kind for kind, _ in modules if kind != "Dropout"]
    folders = tuple(path for kind, path in modules if kind == "Dense")
    if kinds != ["Transformer", "Pooling", *["Dense"] * len(folders), *["Normalize"] * ("Normalize" in kinds)]:
        raise ModelError(f"{MODULES} puts {', '.join(kind[:60] for kind in kinds)} in a row; Transformer, Pooling, "
                         "Dense layers and Normalize are read, in this order. Export the model to ONNX.")
    settings = settings | {"pool": _pooling(files, dict(modules)["Pooling"]),
                           "dense": [_dense(files, path) for path in folders], "normalize": "Normalize" in kinds,
                           "length": text_length(files, settings["length"])}
    return Encoder(family, f"A sentence encoder of {title}", rows, settings, folders)


def text_length(files: dict[str, Path], places: int) -> int:
    """The longest text that the settings allow, within the places there are."""
    for name, key in _LENGTHS.items():
        said = object_of(files, name).get(key) if name in files else None
        if said is None:
            continue
        if not isinstance(said, int | float) or said < 1:
            raise ModelError(f"{key} in {name} is {str(said)[:40]!r}; a whole number is needed.")
        return int(min(places, said))
    return places


def _pooling(files: dict[str, Path], path: str) -> str:
    config = object_of(files, f"{path}.{CONFIG}")
    named = config.get("pooling_mode")
    chosen = [str(one) for one in (named if isinstance(named, list) else [named]) if one is not None] or sorted(
        found[1] for key, value in config.items() if value is True and (found := _OLD_POOLING.fullmatch(key)))
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise ModelError(f"{path}/{CONFIG} pools by {' and '.join(chosen)[:200] or 'nothing'}; one of "
                         f"{', '.join(_POOLINGS)} is read. Export the model to ONNX.")
    return _POOLINGS[chosen[0]]


def _dense(files: dict[str, Path], path: str) -> dict[str, Any]:
    config = object_of(files, f"{path}.{CONFIG}")
    named = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if named not in _DENSE_ACTIVATIONS:
        raise ModelError(f"{path}/{CONFIG} has the activation {named[:80]!r}; read are "
                         f"{', '.join(sorted(_DENSE_ACTIVATIONS))}.")
    return {"widths": [_number(config, "out_features", 0)], "activation": _DENSE_ACTIVATIONS[named],
            "last": "activated", "bias": config.get("bias", True) is True}


def _said(config: dict[str, Any], what: str) -> int:
    key = next((name for name in _NAMES[what] if name in config), _NAMES[what][0])
    return _number(config, key, 0)


def _number(config: dict[str, Any], key: str, default: int | None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if type(value) is not int or not 0 <= value < 2**31:
        raise ModelError(f"{key} in {CONFIG} is {str(value)[:40]!r}; a whole number is needed.")
    return value


def _activation(config: dict[str, Any]) -> str:
    named = str(next((config[name] for name in _NAMES["act"] if name in config), "gelu"))
    if named not in _ACTIVATIONS:
        raise ModelError(f"{CONFIG} has the activation {named[:40]!r}; read are {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[named]


def object_of(files: dict[str, Path], name: str) -> dict[str, Any]:
    plain = _plain(files, name)
    if not isinstance(plain, dict):
        raise ModelError(f"{name} is no JSON object of settings; save the model again.")
    return plain


def _plain(files: dict[str, Path], name: str) -> Any:
    if name not in files:
        raise ModelError(f"{MODULES} names {name!r}, which was not uploaded. Upload the whole folder as a zip.")
    if files[name].stat().st_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{name} has {files[name].stat().st_size:,} bytes; at most {MAX_CONFIG_BYTES:,} are read.")
    try:
        return json.loads(files[name].read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is not valid JSON ({str(error)[:100]}).") from None
