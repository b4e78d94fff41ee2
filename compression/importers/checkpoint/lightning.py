"""A checkpoint of PyTorch Lightning: the hyper-parameters of the module, and its weights without losses and metrics.

Lightning saves everything a module holds: the model stands under the attribute the module gave it, and a loss or a
metric with a tensor of its own stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

MAX_DEPTH = 4
_BESIDE = re.compile(r"(^|_)(loss|criterion|metrics?|auc|auroc|accuracy)(_|\d|$)")


def is_lightning(values: Any) -> bool:
    return isinstance(values, dict) and any(isinstance(key, str) and key.startswith("pytorch-lightning")
                                            for key in values)


def hyper_parameters(values: Any) -> Iterator[dict[str, Any]]:
    """The plain objects in a checkpoint's hyper-parameters, the outermost last: it has the last word."""
    if isinstance(values, dict):
        for name in ("hyper_parameters", "hparams", "args", "config"):
            yield from _objects(_opened(values.get(name)), 0)


def without_losses(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the model, without those of losses and metrics that stand beside it in the module."""
    kept = {name: tensor for name, tensor in state.items() if not _BESIDE.search(name.partition(".")[0].lower())}
    if len(kept) == len(state) or not kept:
        return state
    for prefix in ("model.", "_orig_mod."):  # of a module that held more than the model
        if all(name.startswith(prefix) for name in kept):
            kept = {name.removeprefix(prefix): tensor for name, tensor in kept.items()}
    return kept


def _objects(plain: Any, depth: int) -> Iterator[dict[str, Any]]:
    if not isinstance(plain, dict) or depth > MAX_DEPTH:
        return
    opened = {key: _opened(value) for key, value in plain.items()}
    for value in opened.values():
        yield from _objects(value, depth + 1)
    yield opened


def _opened(value: Any) -> Any:
    """What an object of a class holds: a Namespace's attributes, the items of a dict's child, OmegaConf's nodes."""
    if not isinstance(value, dict) or "__class__" not in value:
        return value
    state, items = value.get("state"), value.get("items")
    if isinstance(state, dict):
        return _opened(state["_val"]) if "_val" in state else state.get("_content", state)
    return items if isinstance(items, dict) else value
