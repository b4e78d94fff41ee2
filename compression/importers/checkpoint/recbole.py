"""A checkpoint of RecBole: its settings say which model it holds, so that nothing has to be guessed.

    told = told_by_recbole(values["config"], dataset=None, vocabularies={}, data_folder=None)
    told.recogniser(state, "DeepFM.pth", Settings({}, told.settings))

RecBole keeps all single ids in one table, field after field, and leaves where each begins in its dataset: the rows of a
field are told by the dataset file beside the checkpoint, by vocabularies, by the data or by the person.
Source: RecBole 1.2.1, recbole/model/abstract_recommender.py and layers.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from compression.importers.checkpoint.catalogue import recognise
from compression.importers.checkpoint.recbole_fields import Kept, settle_fields
from compression.importers.checkpoint.recognised import Recognised, Settings, chain_parts, with_bias
from compression.importers.checkpoint.skeleton import Leaf, leaves_of, of_kind
from compression.importers.checkpoint.told import Told, common, text_in
from compression.spec.errors import ModelError

PAIRS = {"BPR": "pair", "NeuMF": "pair", "LightGCN": "pair"}
HISTORIES = {"SASRec": "sequence", "GRU4Rec": "recurrent"}
FIELDS = {"LR": "logistic regression", "FM": "factorisation machine", "DeepFM": "DeepFM", "WideDeep": "Wide & Deep",
          "DCNV2": "DCN v2"}
_ALWAYS = {"first": "product", "networks_order": "user first", "padding": "end", "mlp.last": "activated",
           "mlp.batch_norm": "before", "mlp.activation": "relu", "output_form": "logit"}
_OF_HISTORIES = {"scale": "none", "blocks.norm": "post", "mask": "keys", "causal": True, "read_from": "last",
                 "outer_norm": "embedding"}
_OF_PAIRS = {"scale": 1.0, "compare": "dot", "graph_layers": 0}


@dataclass(frozen=True)
class _Source:
    """The settings, and what may tell the rows of fields."""

    config: dict[str, Any]
    told: Told
    kept: Kept | None
    vocabularies: dict[str, list[str]]
    data_folder: Path | None


def config_of(values: Any) -> dict[str, Any] | None:
    """The settings in RecBole's Config object; None for a checkpoint of another tool."""
    config = values.get("config") if isinstance(values, dict) else None
    if not isinstance(config, dict) or not str(config.get("__class__", "")).startswith("recbole."):
        return None
    state = config.get("state")
    final = state.get("final_config_dict") if isinstance(state, dict) else None
    return final if isinstance(final, dict) else {}


def told_by_recbole(config: dict[str, Any], *, kept: Kept | None, vocabularies: dict[str, list[str]],
                    data_folder: Path | None) -> Told:
    """Settings, columns, vocabularies, and the recogniser of the model that the settings name."""
    model = text_in(config, "model")
    told = Told(common(config) | _ALWAYS | (_OF_HISTORIES if model in HISTORIES else _OF_PAIRS))
    if model == "LightGCN":
        told.settings["graph_layers"] = config.get("n_layers")
    eps = config.get("layer_norm_eps")
    if isinstance(eps, float) and 0 <= eps <= 0.1:
        told.settings["blocks.eps"] = eps
    user, item, suffix = (text_in(config, key) for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "LIST_SUFFIX"))
    columns = {"user": user, "item": item, "history": f"{item}{suffix}" if item and suffix else None}
    told.settings["columns"] = {side: name for side, name in columns.items() if name}
    if config.get("normalize_all") or config.get("normalize_field"):
        told.notes.append("RecBole scaled numbers to between 0 and 1 before it trained (normalize_all, "
                          "normalize_field), and keeps no bounds: give numbers that are scaled in the same way.")
    if kept is not None:
        told.vocabularies = dict(kept.vocabularies)
        if item in kept.vocabularies and columns["history"]:
            told.vocabularies[columns["history"]] = kept.vocabularies[item]
    else:
        told.notes.append("RecBole keeps the row of each id in its dataset, not in the checkpoint: ids are read as "
                          "they are, unless its dataset file (save_dataset: True) or vocabularies.json comes with the "
                          "weights.")
    told.recogniser = partial(_recognise, _Source(config, told, kept, vocabularies, data_folder))
    return told


def _recognise(source: _Source, state: dict[str, Tensor], name: str, settings: Settings) -> Recognised:
    """The model the settings name. Raises ModelError for one that can't be read, and for weights of another."""
    model = source.config.get("model")
    if not isinstance(model, str) or model not in {**PAIRS, **HISTORIES, **FIELDS}:
        known = ", ".join(sorted({**PAIRS, **HISTORIES, **FIELDS}))
        raise ModelError(f"{name} holds RecBole's {str(model)[:60]}, which RecPress can't rebuild. Read from RecBole "
                         f"are {known}. Export the model to ONNX or .pt2.")
    if model == "DCNV2" and source.config.get("mixed"):
        raise ModelError(f"{name} holds RecBole's DCNV2 with mixed: True (experts of low rank), which RecPress can't "
                         "rebuild. Export the model to ONNX or .pt2.")
    if model in FIELDS:
        found = _of_fields(model, source, state, name, settings)
    else:
        found = recognise(_used(model, source.config, state), name, settings)
    expected = {**PAIRS, **HISTORIES}.get(model, "field_ranker")
    if found is None or found.architecture != expected:
        raise ModelError(f"{name} says it holds RecBole's {model}, but its weights are not those of one. It was "
                         "changed, or comes from another version; RecBole 1.2 is read.")
    return found


def _used(model: str, config: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the half of a NeuMF that was switched off: RecBole saves it all the same."""
    unused = []
    if model == "NeuMF" and config.get("mf_train") is False:
        unused = ["user_mf_", "item_mf_"]
    if model == "NeuMF" and config.get("mlp_train") is False:
        unused = ["user_mlp_", "item_mlp_", "mlp_layers."]
    return {name: tensor for name, tensor in state.items() if not name.startswith(tuple(unused))}


def _of_fields(model: str, source: _Source, state: dict[str, Tensor], name: str, settings: Settings
               ) -> Recognised | None:
    """A click model: every tensor of it is known by name; the vectors of an LR, which are never read, are left out."""
    parts = {"tables": {key: tensor for key, tensor in state.items() if key.partition(".")[0].endswith("_table")},
             "first_order": {key.removeprefix("first_order_linear."): tensor for key, tensor in state.items()
                             if key.startswith("first_order_linear.")}}
    bias = parts["first_order"].pop("bias", None)
    rest = [leaf for leaf in leaves_of(state) if not leaf.named(r"^first_order_linear|_table(\.|$)")]
    fields = settle_fields(parts["first_order"], name, source.config, settings, kept=source.kept,
                           vocabularies=source.vocabularies, data_folder=source.data_folder)
    source.told.notes += fields.notes
    config: dict[str, Any] = {
        "vectors": model != "LR", "first_order": model != "DCNV2", "pairs": model in ("FM", "DeepFM"),
        "bias": model != "DCNV2", "numbers": "vectors" if fields.numbers else "none", "pooling": "mean",
        "first_order_pooling": "sum", "skip_padding": True}
    weights: dict[str, Tensor] = {}
    for part in ("tables", "first_order"):
        if config["vectors" if part == "tables" else part]:
            found = fields.split(parts[part])
            if found is None:
                return None
            weights |= {f"{part}[{field}]": tensor for field, tensor in found.items()}
    widths = {tensor.shape[-1] for key, tensor in weights.items() if key.startswith("tables")}
    if len(widths) > 1 or (bias is None and config["bias"]):
        return None
    config["embedding_dim"] = widths.pop() if widths else 1
    if config["bias"]:
        weights["bias.bias"] = bias.reshape(-1)
    deep = _deep(model, source.config, rest, settings)
    if deep is None:
        return None
    return Recognised("field_ranker", f"{FIELDS[model]} of RecBole", config | deep[0], tuple(fields.inputs),
                      weights | deep[1])


def _deep(model: str, config: dict[str, Any], leaves: list[Leaf], settings: Settings
          ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Cross layers, network and last layer of a click model."""
    linears = [leaf for leaf in of_kind(leaves, "linear") if leaf.named("mlp_layers")]
    last = [leaf for leaf in of_kind(leaves, "linear") if leaf.named("predict_layer")]
    if model in ("LR", "FM"):
        return ({}, {}) if not leaves else None
    if not linears or len(last) != 1:
        return None
    chain = chain_parts("mlp", linears, of_kind(leaves, "batch_norm"), settings, followed=True)
    if chain is None:
        return None
    found, weights, _ = chain
    found |= {"activation": "relu", "last": "activated"}
    more: dict[str, Any] = {"mlp": found, "output": True, "output_bias": "bias" in last[0].tensors}
    weights |= with_bias("output", last[0])
    if model == "DCNV2":
        matrices = [leaf.weight for leaf in leaves if leaf.named(r"^cross_layer_w\.")]
        biases = [leaf.weight for leaf in leaves if leaf.named(r"^bias\.")]
        if len(matrices) != len(biases) or config.get("structure") not in ("parallel", "stacked"):
            return None
        for place, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            weights |= {f"cross.{place}.weight": matrix, f"cross.{place}.bias": bias.reshape(-1)}
        more |= {"cross_layers": len(matrices), "structure": config["structure"], "output_order": "cross first"}
    return more, weights
