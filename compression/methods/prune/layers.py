"""Layer pruning: whole hidden layers of equal width, and cross layers, are taken out.

Sources: Fan et al. 2020, arXiv:1909.11556 (a network without some of its layers); Men et al. 2024, arXiv:2403.03853
(those that change least go first). Here: one layer after the other goes, and the rest is judged anew each time. Layers
that stay move up, so that names and shapes do not depend on which ones went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.shared_params import ValidationRows
from compression.spec.effects import Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, copy_structure, method
from compression.spec.records import Layer, ModelDescription, Part

if TYPE_CHECKING:
    from torch import nn

    from compression.data.batches import DeviceRows

PARTS = frozenset({Part.DENSE, Part.INTERACTION})


class LayersParams(ValidationRows):
    """How many layers go, and which."""

    n_hidden: int = Field(1, ge=0, le=8, description="Hidden layers taken out of each MLP; its first one always stays.")
    n_cross: int = Field(1, ge=0, le=8, description="Cross layers taken out; one always stays.")
    judged_by: Literal["loss", "scores", "last"] = Field(
        "loss", description="Take the layer out that raises validation log loss least, that changes scores least "
                            "(needs no labels), or simply the last one, as a control.")


@dataclass(frozen=True)
class Run:
    """Layers in a row that could stand in for one another: each a dense layer and the norms behind it, by path."""

    part: Part
    blocks: tuple[tuple[str, ...], ...]

    def n_gone(self, params: LayersParams) -> int:
        if self.part is Part.INTERACTION:
            return min(params.n_cross, len(self.blocks) - 1)
        return min(params.n_hidden, len(self.blocks))


def runs(layers: "Iterable[tuple[str, str, Part, tuple[int, ...]]]") -> list[Run]:
    """Square dense layers that follow one another in the same chain, by (path, kind, part, shape)."""
    found: list[list] = []  # [chain, part, width, blocks]
    open_block: list[str] | None = None
    previous = ""
    for path, kind, part, shape in layers:
        chain, _, number = path.rpartition(".")
        if kind == "BatchNorm1d" and chain == previous:
            if open_block is not None:
                open_block.append(path)
            continue
        square = kind == "Linear" and part in PARTS and number.isdigit() and shape[0] == shape[1]
        is_first = part is not Part.INTERACTION and chain != previous
        if not square or is_first:
            open_block = None
        elif open_block is not None and found[-1][:3] == [chain, part, shape[0]]:
            open_block = [path]
            found[-1][3].append(open_block)
        else:
            open_block = [path]
            found.append([chain, part, shape[0], [open_block]])
        previous = chain
    return [Run(part, tuple(map(tuple, blocks))) for _, part, _, blocks in found
            if len({len(block) for block in blocks}) == 1]


@method("prune.layers", LayersParams, title="Layer pruning",
        summary="Takes whole hidden layers and cross layers out, those the scores need least.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs={Need.LABELS}, export=ExportForm.PLAIN,
        source="Fan et al. 2020, arXiv:1909.11556; Men et al. 2024, arXiv:2403.03853",
        tiny={}, no_op={"n_hidden": 0, "n_cross": 0}, gains={Gain.SMALLER, Gain.FASTER},
        effects=Effects(makes={Effect.SMALLER: PARTS}, needs_float=PARTS, wants_training=(
            "The layers that stay have not learned to do without the others")))
def prune_layers(model: "nn.Module", params: LayersParams, ctx: Context) -> Applied:
    """Take layers out of every run of equal ones. Raises RecipeError where they are to be judged without a dataset."""
    from compression.models.structure import leaves, part_of

    found = {path: (leaf, part_of(model, path)) for path, leaf in leaves(model)}
    before = {path: _bytes(leaf) for path, (leaf, part) in found.items() if part in PARTS}
    reasons: dict[str, str] = {}
    details: dict[str, str] = {}
    rows = None
    for run in runs(_facts(model)):
        paths = [path for block in run.blocks for path in block]
        why_not = _why_not(model, run)
        for path in paths:
            reasons[path] = why_not or "it is needed more than those that went"
        if why_not or not run.n_gone(params):
            continue
        if rows is None and params.judged_by != "last":
            rows = _validation(ctx, params)
        details |= _shorten(model, run, params, rows)
    after = {path: _bytes(leaf) for path, leaf in leaves(model)}

    applied = Applied(model)
    for path, size in before.items():
        if path not in after:
            applied.changes.append(ctx.change(path, size, 0, details.get(path, "goes with its layer")))
        else:
            reason = reasons.get(path, "it changes the width, or is the first of its chain")
            applied.skipped.append(ctx.skip(path, reason if params.n_hidden + params.n_cross else "no layer was to go"))
    return applied


def _shorten(model: "nn.Module", run: Run, params: LayersParams, rows: "DeviceRows | None") -> dict[str, str]:
    """Take the run's layers out, one after the other; path of each place that falls empty → what went."""

    blocks, details = run.blocks, {}
    names = [block[0] for block in blocks]
    for _ in range(run.n_gone(params)):
        harms = [0.0] * len(blocks)
        for place in range(len(blocks)) if rows is not None else ():
            trial = copy_structure(model)
            take_out(trial, Run(run.part, blocks), place)
            harms[place] = _harm(trial, model, rows, params)
        least = min(range(len(blocks)), key=lambda place: harms[place]) if rows is not None else len(blocks) - 1
        take_out(model, Run(run.part, blocks), least)
        what = {"loss": "validation log loss", "scores": "mean change of a logit"}.get(params.judged_by)
        measured = f": {what} {harms[least]:+.5f}" if what else ""
        moved = "" if least == len(blocks) - 1 else "; those after it moved up"
        details[blocks[-1][0]] = f"layer {names.pop(least)} is taken out{measured}{moved}"
        blocks = blocks[:-1]
    return details


def take_out(model: "nn.Module", run: Run, place: int) -> None:
    """Remove one layer of the run, in place: those behind it move up, and the last place falls empty."""
    from torch import nn

    from compression.models.structure import replace

    for block, after in zip(run.blocks[place:], run.blocks[place + 1:], strict=False):
        for here, there in zip(block, after, strict=True):
            replace(model, here, model.get_submodule(there))
    chain_path, _, number = run.blocks[-1][0].rpartition(".")
    if run.part is Part.INTERACTION:
        chain = model.get_submodule(chain_path)
        kept = [module for name, module in chain.named_children() if name != number]
        replace(model, chain_path, nn.ModuleList(kept).train(chain.training))
        return
    for path in (*run.blocks[-1], *_behind(model, run.blocks[-1][-1])):
        replace(model, path, nn.Identity())


def _behind(model: "nn.Module", path: str) -> list[str]:
    """Activation and dropout after a layer, up to the next one that holds weights."""
    from torch import nn

    chain_path, _, number = path.rpartition(".")
    chain, found = model.get_submodule(chain_path), []
    for place in range(int(number) + 1, len(chain)):
        if any(True for _ in chain[place].parameters()):
            break
        if not isinstance(chain[place], nn.Identity):  # what an earlier step left behind
            found.append(f"{chain_path}.{place}")
    return found


def _harm(trial: "nn.Module", model: "nn.Module", rows: "DeviceRows", params: LayersParams) -> float:
    import numpy as np

    from compression.data.batches import score_rows
    from compression.observe.importance import loss_of

    if params.judged_by == "loss":
        return loss_of(trial, rows) - loss_of(model, rows)
    return float(np.abs(score_rows(trial, rows) - score_rows(model, rows)).mean())


def _validation(ctx: Context, params: LayersParams) -> "DeviceRows":
    from compression.data.batches import drawn_rows

    if ctx.dataset is None:
        raise RecipeError("Layer pruning judges layers by validation rows; run the recipe with a dataset, "
                          "or set judged_by to last.")
    return drawn_rows(ctx.dataset.splits["valid"], params.max_rows, ctx.generator)


def _why_not(model: "nn.Module", run: Run) -> str:
    """The chain must be a plain one of the same modules between its layers; "" where it is."""
    from torch import nn

    chain = model.get_submodule(run.blocks[0][0].rpartition(".")[0])
    if isinstance(chain, nn.ModuleList) if run.part is Part.INTERACTION else isinstance(chain, nn.Sequential):
        kinds = {tuple(type(model.get_submodule(path)).__name__ for path in (*block, *_behind(model, block[-1])))
                 for block in run.blocks}
        has_bias = {model.get_submodule(block[0]).bias is None for block in run.blocks}
        return "" if run.part is Part.INTERACTION or len(kinds) == len(has_bias) == 1 else (
            "its neighbours have another activation or no bias, so it can't move")
    return "it stands in no plain sequence of layers, so something else may read its output"


def _facts(model: "nn.Module") -> list[tuple[str, str, Part, tuple[int, ...]]]:
    from compression.models.structure import leaves, part_of

    return [(path, type(leaf).__name__, part_of(model, path),
             (getattr(leaf, "out_features", 0), getattr(leaf, "in_features", 0))) for path, leaf in leaves(model)]


def _bytes(leaf: "nn.Module") -> int:
    if hasattr(leaf, "stored_tensors"):
        return sum(tensor.size_bytes for tensor in leaf.stored_tensors())
    return 4 * sum(tensor.numel() for tensor in leaf.state_dict().values() if tensor.is_floating_point())


@prune_layers.named
def _named(params: LayersParams) -> str:
    count = params.n_hidden + params.n_cross
    return f"{count} fewer layer{'' if count == 1 else 's'}"


@prune_layers.fits
def _fits(description: ModelDescription) -> str:
    found = runs((layer.name, layer.kind, layer.part, layer.shape) for layer in description.layers)
    return "" if found else "This model has no two hidden layers of the same width, and no cross layers."


@prune_layers.estimate
def _estimate(layers: tuple[Layer, ...], params: LayersParams) -> tuple[Layer, ...]:
    gone = {path for run in runs((layer.name, layer.kind, layer.part, layer.shape) for layer in layers)
            for block in run.blocks[len(run.blocks) - run.n_gone(params):] for path in block}
    return tuple(layer for layer in layers if layer.name not in gone)
