"""Fine-tuning: train the model as it stands, so that it recovers from the steps before.

Its settings are those of any training (compression/train/params.py). Steps that work during training, such as
gradual pruning and distillation, hand over hooks, which this step runs; see docs/decisions/002.
Source: Han et al. 2015, arXiv:1506.02626 (prune, then retrain what is left).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compression.spec.effects import ALL_PARTS, Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer, Part
from compression.train.params import TrainParams

if TYPE_CHECKING:
    from torch import nn


@method("train.fine_tune", TrainParams, title="Fine-tuning",
        summary="Trains the model on after the steps before it; the best epoch on validation is kept.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS}, export=ExportForm.PLAIN,
        gains={Gain.QUALITY},
        source="Han et al. 2015, arXiv:1506.02626",
        tiny={"epochs": 1, "batch_size": 256}, no_op="every training moves weights",
        effects=Effects(undoes={Effect.ZEROS: ALL_PARTS}), trains=True)
def fine_tune(model: "nn.Module", params: TrainParams, ctx: Context) -> Applied:
    """Train a copy of the model with the hooks of earlier steps; integer layers stay as they are.

    A killed run goes on from the checkpoint in ctx.folder. Raises RecipeError without a dataset.
    """
    import copy

    from compression.models.structure import leaves
    from compression.train.loop import train

    if ctx.dataset is None:
        raise RecipeError("Fine-tuning needs rows to train on; run the recipe with a dataset, or remove the step.")
    model = copy.deepcopy(model)  # training writes into tensors, which the copied structure shares with the input
    outcome = train(
        model, ctx.dataset, params, hooks=ctx.hooks, device=ctx.device, seed=ctx.seed, report=ctx.report,
        checkpoint=ctx.folder / "fine-tune.ckpt" if ctx.folder else None, task=ctx.dataset.description.task,
        stage="fine-tune", events=ctx.events and ctx.events / f"step-{ctx.step}",
    )
    detail = f"best after epoch {outcome.best_epoch} of {len(outcome.history)}, {outcome.best.words}"
    applied = Applied(model)
    for path, leaf in leaves(model):
        size = 4 * sum(tensor.numel() for tensor in leaf.parameters())
        if size:
            applied.changes.append(ctx.change(path, size, size, detail))
        else:
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} has no float weights to train"))
    return applied


@fine_tune.named
def _named(params: TrainParams) -> str:
    return "fine-tune"


@fine_tune.estimate
def _estimate(layers: tuple[Layer, ...], params: TrainParams) -> tuple[Layer, ...]:
    """Shapes stay. Zeros that were held or due are there afterwards; those that nothing holds are gone."""
    after = []
    for layer in layers:
        kept = layer.zeros is not None and layer.zeros.state != "there"
        zeros = layer.zeros.model_copy(update={"state": "there"}) if kept else None
        after.append(layer.model_copy(update={"zeros": zeros}))
    return tuple(after)
