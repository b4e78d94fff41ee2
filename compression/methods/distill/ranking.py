"""Ranking distillation: the compressed model learns the order in which the uploaded one puts the rows of a list.

Sources: Tang & Wang 2018, arXiv:1809.07428; Kang et al. 2020, arXiv:2012.04357; Cao et al. 2007, ICML (ListNet).
Here: for click data a list is what one user has in the batch, or the whole batch; added to the labels' loss, which
keeps the scores probabilities (an order alone does not).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.distill.self import listening, teacher_of, teaching, unheard
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Params, Stage, method
from compression.spec.records import Part

if TYPE_CHECKING:
    from torch import nn


class RankingParams(Params):
    """What a list is, how orders are compared, and how much that weighs."""

    weight: float = Field(0.1, ge=0, le=10, multiple_of=0.01, description="How much the lists add to the loss.")
    lists: Literal["batch", "user"] = Field(
        "batch", description="A list is the whole batch, or the rows of one user in the batch.")
    form: Literal["softmax", "top_k"] = Field(
        "softmax", description="Learn the teacher's softmax over the whole list, or the order of its first rows.")
    top_k: int = Field(10, ge=1, le=100, description="Rows at the top of each list; used by top_k.")
    temperature: float = Field(1.0, ge=0.5, le=20, multiple_of=0.5,
                               description="Softens both softmaxes; used by softmax.")


@method("distill.ranking", RankingParams, title="Ranking distillation",
        summary="Lets the compressed model learn the order of the uploaded model's best rows.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN,
        gains={Gain.QUALITY}, source="Tang & Wang 2018, arXiv:1809.07428; Kang et al. 2020, arXiv:2012.04357",
        no_op={"weight": 0.0},
        effects=teaching("ranking distillation"))
def distill_ranking(model: "nn.Module", params: RankingParams, ctx: Context) -> Applied:
    """Give the next fine-tuning a loss over lists. Raises RecipeError for lists by user where no input is the user."""
    from compression.train.hooks.ranking import RankingHook

    if params.weight == 0:
        return unheard(model, ctx, "weight is 0: the teacher's order has no say")
    hook = RankingHook(teacher_of(ctx), form=params.form, user=_user_input(ctx) if params.lists == "user" else None,
                       k=params.top_k, temperature=params.temperature, weight=params.weight)
    what = f"order of the first {params.top_k}" if params.form == "top_k" else "softmax"
    where = "each user's rows" if params.lists == "user" else "the batch"
    return listening(model, ctx, f"learns the teacher's {what} over {where} in the next fine-tuning; saves no bytes",
                     hook)


def _user_input(ctx: Context) -> str:
    """Name of the input that holds the user's id."""
    columns = {column.name for column in ctx.dataset.description.columns if column.role == "user"} if (
        ctx.dataset is not None) else set()
    for item in ctx.signature.inputs if ctx.signature is not None else ():
        if item.kind == "category" and item.column in columns:
            return item.name
    raise RecipeError("Lists by user need an input that reads the user column, and this model has none. Give a column "
                      "the role user on the Datasets page, or choose the batch as the list.")



@distill_ranking.named
def _named(params: RankingParams) -> str:
    return f"ranking {params.weight:g}"
