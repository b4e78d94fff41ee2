"""Self-distillation: whatever earlier steps made of the model learns from the model that was uploaded.

Sources: Hinton, Vinyals & Dean 2015, arXiv:1503.02531; as the loss after quantisation or pruning Mishra & Marr 2017,
arXiv:1711.05852 (Apprentice). Here: no change of architecture; a loss for the next fine-tuning and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.methods.shared_params import SoftScores
from compression.spec.effects import ALL_PARTS, COMPRESSING, Effect, Effects, Want
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Part

if TYPE_CHECKING:
    from torch import nn


class SelfParams(SoftScores):
    """How much the compressed model listens to the uploaded one."""

    alpha: float = Field(0.5, ge=0, le=1, multiple_of=0.05,
                         description="Share of the loss that compares with the uploaded model; the rest compares with "
                                     "the labels.")


def teaching(title: str) -> Effects:
    """A loss for the next training, of use once the model is no longer its own teacher."""
    alone = Want(COMPRESSING, ALL_PARTS, f"No step before this one compresses the model: {title} then trains the "
                                         "uploaded model towards itself. Put the steps that compress before it.")
    return Effects(makes={Effect.LOSS: ALL_PARTS}, wants=(alone,))


@method("distill.self", SelfParams, title="Self-distillation",
        summary="Lets the compressed model learn from the uploaded one in the next fine-tuning.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN,
        gains={Gain.QUALITY}, source="Hinton et al. 2015, arXiv:1503.02531; Mishra & Marr 2017, arXiv:1711.05852",
        no_op={"alpha": 0.0},
        effects=teaching("self-distillation"))
def distill_self(model: "nn.Module", params: SelfParams, ctx: Context) -> Applied:
    """Give the next fine-tuning a loss that compares with the uploaded model. Raises RecipeError without one."""
    from compression.train.hooks.distillation import DistillationHook

    if params.alpha == 0:
        return unheard(model, ctx, "alpha is 0: the uploaded model has no say")
    hook = DistillationHook(teacher_of(ctx), alpha=params.alpha, temperature=params.temperature,
                            schedule=params.schedule)
    detail = f"learns {params.alpha:.0%} from the uploaded model in the next fine-tuning; saves no bytes"
    return listening(model, ctx, detail, hook)


def teacher_of(ctx: Context) -> "nn.Module":
    """The uploaded model. Raises RecipeError where a step runs without one."""
    if ctx.teacher is None:
        raise RecipeError("Distillation learns from the uploaded model, and there is none here; run the recipe on a "
                          "model, or remove the step.")
    return ctx.teacher


def listening(model: "nn.Module", ctx: Context, detail: str, *hooks) -> Applied:
    """The model as it came, with a change of no bytes for each leaf that the hooks' loss will train."""
    from compression.models.structure import leaves

    applied = Applied(model, hooks=list(hooks))
    for path, leaf in leaves(model):
        size = 4 * sum(tensor.numel() for tensor in leaf.parameters())
        if size:
            applied.changes.append(ctx.change(path, size, size, detail))
        else:
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} has no float weights to train"))
    return applied


def unheard(model: "nn.Module", ctx: Context, reason: str) -> Applied:
    """The model as it came, every leaf skipped for the same reason."""
    from compression.models.structure import leaves

    return Applied(model, skipped=[ctx.skip(path, reason) for path, _ in leaves(model)])


@distill_self.named
def _named(params: SelfParams) -> str:
    return f"self-distilled {params.alpha:.0%}"
