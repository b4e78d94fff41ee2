"""The gate of methods that claim speed: a dense layer that measures slower than it was stays as it was.

A method whose gains name Gain.FASTER may put another form in the place of a dense layer: 8-bit codes, two thin factors.
Where a Context carries a timer, such layers are timed beside the float ones at every batch size of the target: those of
an MLP together first, as a layer alone pays for what neighbours share (a call, rounding its input). If they are slower
together, each is timed alone, and one that is slower by more than SLOWER with its whole interval goes back to float,
and the run says so. A layer without such neighbours may be ALONE_US slower.
What becomes narrower as a whole (channels, layers, fields, a student) has nothing to be put back, and isn't timed.
"""

from __future__ import annotations

from torch import nn

from compression.measure.layer_latency import Ratio
from compression.models.structure import replace
from compression.spec.method import Applied, Context, Gain, Method, Params, copy_structure
from compression.spec.records import Change, Progress, Target

Ratios = dict[int, Ratio]  # by batch size
Pair = tuple[nn.Linear, nn.Module]  # the float layer, what stands in its place

SLOWER = 1.05
ALONE_US = 2.0  # microseconds that being run without the rest of the model may add to a call


def apply_gated(method: Method, model: nn.Module, params: Params, ctx: Context) -> Applied:
    """Apply a method; where it claims speed and the Context carries a timer, undo what measures slower."""
    applied = method(model, params, ctx)
    if Gain.FASTER not in method.gains or ctx.time_layers is None:
        return applied
    return put_slower_layers_back(model, applied, ctx)


def put_slower_layers_back(model: nn.Module, applied: Applied, ctx: Context) -> Applied:
    """Time the layers that `applied` put into `model`: those of an MLP together, and each alone where that is slower.

    Layers of equal form are timed once.
    """
    before = copy_structure(model)
    pairs = {change.module: pair for change in applied.changes if (pair := _replaced(before, applied.model, change))}
    timed: dict[tuple, Ratios] = {}
    told: dict[str, str] = {}
    skipped = list(applied.skipped)
    for run in _in_a_row(pairs):
        ctx.report(Progress(stage="time layers", unit="layers", message=", ".join(run)))
        together = _time([pairs[path] for path in run], ctx, timed) if len(run) > 1 else {}
        if together and not _slower(together):
            told |= {path: f"together × {_words(together)}" for path in run}
            continue
        for path in run:
            old, new = pairs[path]
            ratios = _time([(old, new)], ctx, timed)
            if slower := _slower(ratios, spared_us=0 if together else ALONE_US):
                replace(applied.model, path, old.train(new.training))
                skipped.append(ctx.skip(path, _why_back(*slower, ctx.target)))
            else:
                told[path] = f"alone × {_words(ratios)}"
    back = {skip.module for skip in skipped}
    changes = [change.model_copy(update={"detail": f"{change.detail}; {told[change.module]}"})
               if change.module in told else change
               for change in applied.changes if change.module not in pairs or change.module not in back]
    return Applied(applied.model, changes, skipped, applied.hooks)


def _in_a_row(pairs: dict[str, Pair]) -> list[list[str]]:
    """Paths of layers that read one another's outputs, by their widths: the hidden layers of an MLP."""
    runs: list[list[str]] = []
    width = None
    for path, (old, _) in pairs.items():
        if old.in_features == width:
            runs[-1].append(path)
        else:
            runs.append([path])
        width = old.out_features
    return runs


def _time(pairs: list[Pair], ctx: Context, timed: dict[tuple, Ratios]) -> Ratios:
    """Ratios of these layers one behind the other, with a ReLU after each but the last."""
    form = tuple(_form(new) for _, new in pairs)
    if form not in timed:
        chains = []
        for layers in zip(*pairs, strict=True):
            inner = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
            chains.append(nn.Sequential(*inner, layers[-1]) if inner else layers[-1])
        timed[form] = ctx.time_layers(*chains, pairs[0][0].in_features, ctx.target)
    return timed[form]


def _slower(ratios: Ratios, spared_us: float = ALONE_US) -> tuple[int, Ratio] | None:
    """The batch size at which the layers are slower beyond doubt, the worst one, with its ratio."""
    found = {size: ratio for size, ratio in ratios.items() if ratio.low > SLOWER and ratio.longer_us > spared_us}
    return max(found.items(), key=lambda item: item[1].low) if found else None


def _replaced(before: nn.Module, after: nn.Module, change: Change) -> tuple[nn.Linear, nn.Module] | None:
    """The float layer and what stands in its place; None where it is no other form of the same layer."""
    try:
        old, new = before.get_submodule(change.module), after.get_submodule(change.module)
    except AttributeError:
        return None
    return (old, new) if type(old) is nn.Linear and type(new) is not nn.Linear else None


def _form(layer: nn.Module) -> tuple:
    """What its time depends on: what it is made of, and the shapes; not the weights."""
    return (type(layer).__name__, *((name, tuple(tensor.shape)) for name, tensor in layer.state_dict().items()))


def _why_back(size: int, ratio: Ratio, target: Target) -> str:
    threads = f"{target.threads} thread{'s' * (target.threads > 1)} of the CPU" if target.device == "cpu" else "CUDA"
    return (f"slower than the float layer: × {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] of its time at "
            f"batch size {size:,} on {threads}, so it stays as it was")


def _words(ratios: Ratios) -> str:
    return ", ".join(f"{ratio.value:.2f} of the time at batch size {size:,}" for size, ratio in sorted(ratios.items()))
