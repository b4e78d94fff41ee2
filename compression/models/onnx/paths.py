"""What lies between two layers of an interpreted graph: whether anything mixes units, or reads them elsewhere."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn

from compression.models.example import example_batch
from compression.models.onnx.steps import Step
from compression.models.structure import read_signature
from compression.models.watch import watch_inputs
from compression.spec.signature import Signature

EACH_ALONE = frozenset({
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Elu", "Selu", "Gelu", "Erf", "Softplus", "Softsign", "HardSigmoid",
    "HardSwish", "Mish", "ThresholdedRelu", "Abs", "Exp", "Neg", "Sqrt", "Identity", "Dropout", "Clip", "Cast",
    "Add", "Sub", "Mul", "Div", "Pow",
})


def why_not_alone(model: nn.Module, steps: list[Step], result: str, first: str, second: str,
                  norms: tuple[str, ...]) -> str:
    """Why units of the layer `first` can't go with the columns of `second`; "" where each is worked on alone.

    Every value made from the output of `first` must come from operators that treat each unit for itself (with single
    numbers beside it) or from the `norms`, and end in `second`.
    """
    starts = [step for step in steps if step.leaf == first]
    if len(starts) != 1 or sum(step.leaf == second for step in steps) != 1:
        return "it is used in several places"
    made = {starts[0].outputs[0]}
    reached = False
    for step in steps:
        read = [name for name in step.inputs if name in made]
        if not read:
            continue
        if step.leaf == second:
            reached = True
        elif step.leaf in norms or (not step.leaf and step.operator in EACH_ALONE and all(
                name in made or not name or _is_number(model, name) for name in step.inputs)):
            made |= set(step.outputs)
        else:
            what = step.operator if not step.leaf else f"the layer {step.leaf}"
            return f"{what} reads it as well, or stands between it and the next layer and mixes units"
    if result in made or not reached:
        return "its output feeds something else than a next dense layer, so its width stays"
    return ""


def neighbours(model: nn.Module, signature: Signature | None) -> dict[str, tuple[str, str]]:
    """Path of each BatchNorm → the layer that alone feeds it and the layer that alone reads it, "" where there is none.

    Only norms of (B, H): with a third axis units are the second one, where a dense layer's are the last.
    """
    norms = {path: module for path, module in model.named_modules() if isinstance(module, nn.BatchNorm1d)}
    reads = Counter(name for step in model.steps for name in step.inputs) + Counter([model.result])
    uses = Counter(step.leaf for step in model.steps if step.leaf)
    makers = {name: step.leaf for step in model.steps for name in step.outputs if uses[step.leaf] == 1}
    readers = {name: step.leaf for step in model.steps for name in step.inputs if uses[step.leaf] == 1}
    flat = _flat_norms(model, norms, signature)
    found = {}
    for step in model.steps:
        if step.leaf in flat and uses[step.leaf] == 1:
            given, made = step.inputs[0], step.outputs[0]
            found[step.leaf] = (makers.get(given, "") if reads[given] == 1 else "",
                                readers.get(made, "") if reads[made] == 1 else "")
    return found


def _flat_norms(model: nn.Module, norms: dict[str, nn.BatchNorm1d], signature: Signature | None) -> set[str]:
    """Those that read (B, H), seen by running a batch of zeros; none where it isn't known what the model reads."""
    if signature is None or not norms:
        return set()
    seen: dict[str, int] = {}

    def note(path: str, norm: nn.Module, rows: Tensor) -> None:
        seen[path] = rows.dim()

    watch_inputs(model, norms, [example_batch(read_signature(model, signature))], note)
    return {path for path, dims in seen.items() if dims == 2}


def _is_number(model: nn.Module, name: str) -> bool:
    """Whether a stored value is a single number."""
    from compression.models.onnx.values import Ints

    kept = model.constants.get(name)
    if isinstance(kept, Ints):
        return len(kept) == 1
    if kept is None:
        return False
    owner, _, last = kept.rpartition(".")
    return getattr(model.get_submodule(owner), last).numel() == 1
