"""Find the layers in the steps of an ONNX graph: tables, dense layers, convolutions, recurrent layers, normalisations.

A matrix goes into a leaf when every use of it is that leaf. A tied table, or one that is also used as plain numbers,
stays a parameter, so that replacing a leaf never changes a computation elsewhere. Vectors are copied: exporters write
equal ones (zero biases, fresh statistics) once for all layers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from torch import nn

from compression.models.onnx.candidates import (
    Candidate,
    axes_behind_windows,
    candidate_of,
    inputs_of_leaf,
    leaf_of,
)
from compression.models.onnx.lookups import with_lookups
from compression.models.onnx.origin import origins
from compression.models.onnx.recurrent import with_stored_weights
from compression.models.onnx.steps import Constant, Step


@dataclass(frozen=True)
class Found:
    """The steps with leaves in them, the leaves by path, and which input each table reads, or which several."""

    steps: list[Step]
    leaves: dict[str, nn.Module]
    table_inputs: dict[str, str]
    shared_inputs: dict[str, tuple[str, ...]]


def with_leaves(steps: list[Step], constants: dict[str, Constant], inputs: list[str], result: str) -> Found:
    """Put leaves in the place of the steps that are layers; steps that `result` doesn't need are left out."""
    steps = _dense_with_bias(with_lookups(with_stored_weights(steps, constants), constants), constants)
    steps = _needed(steps, result)
    n_axes = axes_behind_windows(steps, constants)
    candidates = [candidate_of(step, constants, n_axes) for step in steps]
    users: dict[str, set[Candidate | None]] = defaultdict(set)
    for step, candidate in zip(steps, candidates, strict=True):
        for name in step.inputs:
            if name in constants:
                users[name].add(candidate if candidate and name in candidate.names else None)
    paths: dict[Candidate, str] = {}
    leaves: dict[str, nn.Module] = {}
    made = []
    for step, candidate in zip(steps, candidates, strict=True):
        if candidate is None or any(users[name] != {candidate} for name in candidate.names
                                    if constants[name].array.ndim > 1):
            made.append(step)
            continue
        if candidate not in paths:
            paths[candidate] = _free_path(candidate.path or candidate.names[0], leaves)
            leaves[paths[candidate]] = leaf_of(candidate, constants)
        made.append(replace(step, inputs=inputs_of_leaf(step, candidate), leaf=paths[candidate]))
    readers = _table_readers(made, leaves, constants, inputs)
    return Found(made, leaves, {path: names[0] for path, names in readers.items() if len(names) == 1},
                 {path: names for path, names in readers.items() if len(names) > 1})


def _needed(steps: list[Step], result: str) -> list[Step]:
    """The steps that lead to `result`."""
    read, kept = {result}, []
    for step in reversed(steps):
        if read & set(step.outputs):
            read |= set(step.inputs)
            kept.append(step)
    return kept[::-1]


def _dense_with_bias(steps: list[Step], constants: dict[str, Constant]) -> list[Step]:
    """MatMul by a stored matrix and the Add of a stored vector after it, as one Gemm."""
    uses = Counter(name for step in steps for name in step.inputs)
    adds = {name: place for place, step in enumerate(steps) if step.operator == "Add" for name in step.inputs}
    steps, dropped = list(steps), set()
    for place, step in enumerate(steps):
        if step.operator != "MatMul" or step.inputs[1] not in constants or step.outputs[0] not in adds:
            continue
        later = adds[step.outputs[0]]
        (bias,) = [name for name in steps[later].inputs if name != step.outputs[0]] or [""]
        weight = constants[step.inputs[1]].array
        if uses[step.outputs[0]] == 1 and bias in constants and weight.ndim == 2 \
                and constants[bias].array.shape == weight.shape[1:]:
            steps[later] = replace(steps[later], operator="Gemm", inputs=(*step.inputs, bias), attributes={})
            dropped.add(place)
    return [step for place, step in enumerate(steps) if place not in dropped]


def _table_readers(steps: list[Step], leaves: dict[str, nn.Module], constants: dict[str, Constant],
                   inputs: list[str]) -> dict[str, tuple[str, ...]]:
    """Path of each table → the inputs it reads, "input[k]" for column k of a wide one; left out where one is unknown.
    """
    numbers = {name: constant.array for name, constant in constants.items() if constant.array.size <= 64}
    operators = [(step.operator, step.inputs, step.outputs, step.attributes.get("axis", 0)) for step in steps
                 if not step.leaf]
    origin = origins(operators, numbers, inputs)
    read: dict[str, set[str | None]] = defaultdict(set)
    for step in steps:
        if step.leaf and isinstance(leaves[step.leaf], nn.Embedding):
            read[step.leaf].add(origin.get(step.inputs[0]))
    return {path: tuple(sorted(names)) for path, names in read.items() if None not in names}


def _free_path(name: str, leaves: dict[str, nn.Module]) -> str:
    path = name.removesuffix(".weight") or name
    while path in leaves:
        path += "_"
    return path
