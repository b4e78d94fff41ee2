"""Checkpoints as training tools leave them, made by hand in their layout: none of the tools is needed."""

from __future__ import annotations

import argparse
import io
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.importers.checkpoint.make import SASRec


def saved(content: Any, *, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


@contextmanager
def stranger(path: str, **members: Any) -> Iterator[type]:
    """A class under a module's name that is not installed here, for as long as something of it is pickled."""
    module_name, _, name = path.rpartition(".")
    parts = module_name.split(".")
    made = [one for one in (".".join(parts[:place]) for place in range(1, len(parts) + 1)) if one not in sys.modules]
    sys.modules.update({one: types.ModuleType(one) for one in made})
    kind = type(name, (), {"__module__": module_name, **members})
    setattr(sys.modules[module_name], name, kind)
    try:
        yield kind
    finally:
        for one in made:
            del sys.modules[one]


def instance(kind: type, **attributes: Any) -> Any:
    made = kind.__new__(kind)
    made.__dict__.update(attributes)
    return made


def lightning_checkpoint(model: nn.Module, hyper_parameters: Any, *, beside: dict[str, Tensor] | None = None,
                         attribute: str = "net", **more: Any) -> bytes:
    """What Trainer.save_checkpoint writes: the model under an attribute of the module, with what stands beside it."""
    state = {f"{attribute}.{name}": tensor for name, tensor in model.state_dict().items()}
    return saved({"epoch": 1, "global_step": 8, "pytorch-lightning_version": "2.6.6",
                  "state_dict": state | (beside or {}), "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {},
                  "optimizer_states": [{"state": {0: {"step": torch.tensor(8.0)}}, "param_groups": [{"lr": 0.01}]}],
                  "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": hyper_parameters, **more})


def lightning_sasrec(**more: Any) -> tuple[SASRec, bytes]:
    """A SASRec, its settings in a namespace inside the hyper-parameters, and a loss with a tensor of its own."""
    torch.manual_seed(0)
    model = SASRec(heads=3).eval()
    settings = argparse.Namespace(num_heads=3, max_len=6, dropout_rate=0.2)
    return model, lightning_checkpoint(model, {"args": settings, "lr": 0.01, **more},
                                       beside={"criterion.pos_weight": torch.ones(1)})
