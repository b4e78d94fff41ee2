"""The gate of methods that claim speed: a dense layer that measures slower than it was stays as it was.

A method whose gains name Gain.FASTER may put another form in the place of a dense layer: 8-bit codes, two thin factors.
Where a Context carries a timer, each such layer is timed beside the float one, at every batch size of the target; if it
is slower at one of them, by more than SLOWER with the whole interval and by more than ALONE_US, the float layer goes
back and the run says so. A layer alone pays for what a model does once for several: a call, rounding its input.
What becomes narrower as a whole (channels, layers, fields, a student) has nothing to be put back, and isn't timed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.records import Change, Progress, Target

if TYPE_CHECKING:
    from torch import nn

    from compression.measure.layer_latency import Ratio
    from compression.method import Applied, Context

SLOWER = 1.05
ALONE_US = 2.0  # microseconds that running a layer alone may add to a call


def put_slower_layers_back(model: "nn.Module", applied: "Applied", ctx: "Context") -> "Applied":
    """Time the layers that `applied` put into `model`. Layers of equal form are timed once."""
    from compression.method import Applied
    from compression.models.structure import copy_structure, replace

    before = copy_structure(model)
    known: dict[tuple, dict[int, Ratio]] = {}
    changes, skipped = [], list(applied.skipped)
    for place, change in enumerate(applied.changes):
        pair = _replaced(before, applied.model, change)
        if pair is None:
            changes.append(change)
            continue
        ctx.report(Progress(stage="time layers", done=place, total=len(applied.changes), unit="layers",
                            message=change.module))
        old, new = pair
        form = _form(new)
        if form not in known:
            known[form] = ctx.time_layers(old, new, old.in_features, ctx.target)
        slower = {size: ratio for size, ratio in known[form].items()
                  if ratio.low > SLOWER and ratio.longer_us > ALONE_US}
        if slower:
            size, ratio = max(slower.items(), key=lambda item: item[1].low)
            replace(applied.model, change.module, old.train(new.training))
            skipped.append(ctx.skip(change.module, _slower(size, ratio, ctx.target)))
        else:
            changes.append(change.model_copy(update={"detail": f"{change.detail}; {_faster(known[form])}"}))
    return Applied(applied.model, changes, skipped, applied.hooks)


def _replaced(before: "nn.Module", after: "nn.Module", change: Change) -> "tuple[nn.Linear, nn.Module] | None":
    """The float layer and what stands in its place; None where it is no other form of the same layer."""
    from torch import nn

    try:
        old, new = before.get_submodule(change.module), after.get_submodule(change.module)
    except AttributeError:
        return None
    return (old, new) if type(old) is nn.Linear and type(new) is not nn.Linear else None


def _form(layer: "nn.Module") -> tuple:
    """What its time depends on: what it is made of, and the shapes; not the weights."""
    return (type(layer).__name__, *((name, tuple(tensor.shape)) for name, tensor in layer.state_dict().items()))


def _slower(size: int, ratio: "Ratio", target: Target) -> str:
    threads = f"{target.threads} thread{'s' * (target.threads > 1)} of the CPU" if target.device == "cpu" else "CUDA"
    return (f"slower than the float layer: × {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of its time at "
            f"batch size {size:,} on {threads}, so it stays as it was")


def _faster(ratios: "dict[int, Ratio]") -> str:
    return "alone × " + ", ".join(f"{ratio.value:.2f} of the time at batch size {size:,}"
                                  for size, ratio in sorted(ratios.items()))
