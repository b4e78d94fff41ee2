"""What the tests of methods begin with: a dataset whose ids stand in the order of their frequency, and one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from compression.data.dataset import Dataset
from compression.layers.rows.remapped_rows import rows_occurring
from compression.models.structure import table_inputs
from compression.spec.method import METHODS, Applied, Context
from compression.spec.recipe import parse_step
from compression.spec.records import Recipe, Step
from compression.testing.tiny import tiny_dataset

torch.set_num_threads(1)  # on matrices this small, threads only wait for one another


def ordered_dataset(seed: int = 0, **options: Any) -> Dataset:
    """tiny_dataset with ids renumbered as vocabularies made here are: 1 is the most frequent in train."""
    dataset = tiny_dataset(seed, **options)
    for item in dataset.signature.inputs:
        if item.kind == "number":
            continue
        order = np.argsort(-dataset.frequencies(item.name)[1:], kind="stable") + 1
        new_id = np.zeros(item.cardinality, np.int64)
        new_id[order] = np.arange(1, item.cardinality)
        for rows in dataset.splits.values():
            rows.inputs[item.name] = new_id[rows.inputs[item.name]]
    return dataset


def context(model: nn.Module, dataset: Dataset | None, *, method: str = "", step: int = 0, seed: int = 0,
            **options: Any) -> Context:
    """What the engine would lend the step."""
    counts = {} if dataset is None else {path: rows_occurring(model, path, dataset.frequencies(name))
                                         for path, name in table_inputs(model).items()}
    return Context(step=step, method=method, seed=seed, dataset=dataset, frequencies=counts,
                   signature=None if dataset is None else dataset.signature,
                   **{"teacher": model} | options)


def apply(key: str, model: nn.Module, dataset: Dataset | None, /, *, seed: int = 0, hooks: list | None = None,
          **params: Any) -> Applied:
    """One step on a model."""
    method = METHODS[key]
    return method(model, method.parse(params), context(model, dataset, method=key, seed=seed, hooks=hooks or []))


def apply_all(model: nn.Module, dataset: Dataset, *steps: tuple[str, dict[str, Any]]) -> nn.Module:
    """Steps in order, hooks living until the next fine-tuning, as the engine does it."""
    teacher, hooks = model, []
    for index, (key, params) in enumerate(steps):
        chosen, parsed = parse_step(Step(method=key, params=params))
        applied = chosen(model, parsed, context(model, dataset, method=key, step=index, teacher=teacher, hooks=hooks))
        model = applied.model
        hooks = [] if chosen.trains else hooks + applied.hooks
    return model


def recipe_of(*steps: tuple[str, dict[str, Any]]) -> Recipe:
    return Recipe(steps=tuple(Step(method=key, params=params) for key, params in steps))


@torch.no_grad()
def logits(model: nn.Module, dataset: Dataset, split: str = "test") -> torch.Tensor:
    """(N,) logits over a split, in eval mode."""
    batch = {name: torch.from_numpy(values) for name, values in dataset.splits[split].inputs.items()}
    return model.eval()(batch)
