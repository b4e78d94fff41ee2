"""What lies between two layers of an interpreted graph: whether anything mixes units, or reads them elsewhere."""

from __future__ import annotations

from torch import nn

from compression.models.importers.onnx_leaves import Step

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


def _is_number(model: nn.Module, name: str) -> bool:
    """Whether a stored value is a single number."""
    from compression.models.importers.onnx_values import Ints

    kept = model.constants.get(name)
    if isinstance(kept, Ints):
        return len(kept) == 1
    if kept is None:
        return False
    owner, _, last = kept.rpartition(".")
    return getattr(model.get_submodule(owner), last).numel() == 1
