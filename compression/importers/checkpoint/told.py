"""What a training tool kept beside its weights, and the words that tools and repositories have for what is asked here.

A value that is not of the kind a setting needs is left out: the question is then asked like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from compression.spec.errors import ModelError
from compression.spec.plain_text import read_yaml, unique_keys

if TYPE_CHECKING:
    from compression.importers.checkpoint.recognised import Recognised, Settings

MAX_TEXT_BYTES = 64 << 20
MAX_NAMES = 1000
_ACTIVATED = ("mlp", "bottom", "blocks", "user_tower", "item_tower")
_COMMON = {  # names that tools and repositories give to what is asked here
    "blocks.heads": ("n_heads", "num_heads", "nhead", "heads", "n_head", "num_attention_heads"),
    "length": ("MAX_ITEM_LIST_LENGTH", "maxlen", "max_len", "max_seq_len", "max_length", "max_seq_length",
               "max_history", "history_length"),
    "dropout": ("dropout_prob", "dropout", "dropout_rate", "net_dropout", "hidden_dropout_prob", "dropout_p"),
    "activation": ("mlp_activation", "dnn_activations", "hidden_activations", "hidden_act", "activation", "act"),
    "graph_layers": ("lightGCN_n_layers", "gcn_layers", "n_gcn_layers", "num_gcn_layers"),
    "field_sizes": ("field_dims", "field_sizes", "vocab_sizes", "cardinalities"),
    "fields": ("sparse_features", "categorical_columns", "categorical_features", "cat_cols"),
    "numbers": ("dense_features", "numeric_columns", "numerical_columns", "num_cols"),
}
_ACTIVATIONS = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "gelu": "gelu", "leakyrelu": "leaky_relu",
                "elu": "elu", "silu": "silu", "swish": "silu", "identity": "none", "none": "none", "linear": "none"}
_KINDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("blocks.heads", "length"), lambda value: type(value) is int and 0 < value < 65_536),
    "graph_layers": lambda value: type(value) is int and 0 <= value <= 4,
    **dict.fromkeys(("fields", "numbers"), lambda value: bool(value) and names_in(value) == value),
    "dropout": lambda value: isinstance(value, int | float) and 0 <= value <= 0.9,
    "field_sizes": lambda value: isinstance(value, list) and 0 < len(value) <= MAX_NAMES and all(
        type(one) is int and one > 0 for one in value),
}


@dataclass
class Told:
    """`settings`: answers to questions, by key. `vocabularies`: column → values, row 1 first. `mappings`: value → row,
    by the key they have in the checkpoint.

    `recogniser`, of a tool that says which model it saved, stands in for those that go by names and shapes.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    mappings: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    recogniser: Callable[[dict[str, Tensor], str, Settings], Recognised] | None = None


def common(plain: dict[str, Any]) -> dict[str, Any]:
    """Settings under the names that tools give them."""
    found: dict[str, Any] = {}
    for key, names in _COMMON.items():
        value = next((plain[name] for name in names if name in plain), None)
        if key == "activation":
            found |= {f"{part}.activation": activation(value) for part in _ACTIVATED if activation(value)}
        elif _KINDS[key](value):
            found[key] = value
    if type(plain.get("norm_first")) is bool:
        found["blocks.norm"] = "pre" if plain["norm_first"] else "post"
    return found


def activation(value: Any) -> str | None:
    """Our name for an activation that is said by its name or by torch's class: "nn.LeakyReLU" → "leaky_relu"."""
    if isinstance(value, dict):
        value = value.get("__class__")
    if not isinstance(value, str):
        return None
    return _ACTIVATIONS.get(value.rpartition(".")[2].removesuffix("()").replace("_", "").lower())


def names_in(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)][:MAX_NAMES] if isinstance(value, list) else []


def text_in(plain: dict[str, Any], key: str) -> str | None:
    return plain[key] if isinstance(plain.get(key), str) else None


def text_of(path: Path, name: str) -> str:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ModelError(f"{name} has {path.stat().st_size:,} bytes; at most {MAX_TEXT_BYTES:,} are read.")
    return path.read_text(encoding="utf-8", errors="replace")


def parsed(text: str, name: str) -> dict[str, Any]:
    """The JSON or YAML of a file of settings; {} where it is no object. Raises ModelError."""
    try:
        # the tools themselves take the last of two equal keys in YAML
        plain = json.loads(text, object_pairs_hook=unique_keys) if name.endswith(".json") else \
            read_yaml(text, unique_keys=False)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} can't be read ({' '.join(str(error).split())[:200]}).") from None
    return plain if isinstance(plain, dict) else {}
