"""Several teachers: reference models trained here on the same data, whose mean score the compressed model learns from.

Sources: Hinton, Vinyals & Dean 2015, arXiv:1503.02531 (an ensemble into one model); for click models
Zhu et al. 2020, arXiv:2011.04106. Here: the mean of logits, every teacher with the same weight; teachers of other
seeds or of other architectures of the zoo, and on request the uploaded model beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from compression.methods.distill.self import listening, teacher_of, unheard
from compression.methods.shared_params import SoftScores
from compression.spec.effects import ALL_PARTS, Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.metrics import METRICS
from compression.spec.records import Part

if TYPE_CHECKING:
    from torch import nn

    from compression.train.outcome import EpochScore

MIXED = ("dcnv2", "deepfm", "dlrm", "widedeep")  # in turn, each teacher of another kind


class EnsembleParams(SoftScores):
    """Which teachers are trained, how long, and how much the compressed model listens to them."""

    n_teachers: int = Field(2, ge=1, le=5, description="Models trained in this step, each from a seed of its own.")
    architecture: Literal["same", "mixed", "deepfm", "dcnv2", "dlrm", "widedeep"] = Field(
        "same", description="What the teachers are: as the uploaded model, one of each kind in turn, or one kind.")
    with_uploaded: bool = Field(True, description="Count the uploaded model as one more teacher.")
    epochs: int = Field(10, ge=1, le=30, description="At most this many epochs for each teacher; it stops early.")
    batch_size: int = Field(1024, ge=16, le=65536, description="Rows in a training step of a teacher.")
    alpha: float = Field(0.2, ge=0, le=1, multiple_of=0.05,
                         description="Share of the loss that compares with the teachers; the rest compares with the "
                                     "labels.")


@method("distill.ensemble", EnsembleParams, title="Several teachers",
        summary="Trains teachers on the data and lets the compressed model learn from their mean score.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN,
        gains={Gain.QUALITY}, source="Hinton et al. 2015, arXiv:1503.02531; Zhu et al. 2020, arXiv:2011.04106",
        tiny={"n_teachers": 1, "epochs": 1, "batch_size": 256}, no_op={"alpha": 0.0},
        effects=Effects(makes={Effect.LOSS: ALL_PARTS}))
def distill_ensemble(model: "nn.Module", params: EnsembleParams, ctx: Context) -> Applied:
    """Train the teachers (a killed run goes on from ctx.folder) and give the next fine-tuning their loss.

    Raises RecipeError without rows to train on, or for a model whose inputs the zoo can't read.
    """
    from compression.train.hooks.distillation import DistillationHook, MeanOfTeachers

    if params.alpha == 0:
        return unheard(model, ctx, "alpha is 0: the teachers have no say")
    uploaded = teacher_of(ctx)
    trained, scores = zip(*(_trained(architecture, config, place, params, ctx)
                            for place, (architecture, config) in enumerate(chosen_teachers(uploaded, params, ctx))),
                          strict=True)
    teachers = MeanOfTeachers([*trained, *([uploaded] if params.with_uploaded else [])])
    hook = DistillationHook(teachers, alpha=params.alpha, temperature=params.temperature,
                            schedule=params.schedule)
    detail = (f"learns {params.alpha:.0%} from the mean of {len(teachers.teachers)} teachers in the next fine-tuning"
              f"{_told(scores)}; saves no bytes")
    return listening(model, ctx, detail, hook)


def chosen_teachers(uploaded: "nn.Module", params: EnsembleParams, ctx: Context) -> list[tuple[str, dict[str, Any]]]:
    """(architecture, settings) of each teacher: the uploaded model's settings where the architecture has them."""
    from compression.models.zoo import ARCHITECTURES

    known, config = getattr(uploaded, "architecture", None), getattr(uploaded, "config", None) or {}
    if ctx.signature is None or any(item.parts or item.fixed_length for item in ctx.signature.inputs):
        raise RecipeError("Teachers trained here read one column an input, and this model has wide inputs. "
                          "Learn from the uploaded model itself, by self-distillation, instead.")
    if params.architecture == "same" and known not in ARCHITECTURES:
        raise RecipeError(f"Teachers of the same architecture need a model of the zoo; this one is "
                          f"{known or 'a plain graph'}. Choose an architecture for them.")
    names = {"same": (known,), "mixed": MIXED}.get(params.architecture, (params.architecture,))
    found = []
    for place in range(params.n_teachers):
        name = names[place % len(names)]
        shared = ARCHITECTURES[name].params.model_fields
        found.append((name, {key: value for key, value in config.items() if key in shared}))
    return found


def _trained(architecture: str, config: dict[str, Any], place: int, params: EnsembleParams,
             ctx: Context) -> "tuple[nn.Module, EpochScore]":
    """A teacher in eval mode, and its validation score."""
    from compression.models import zoo
    from compression.train.loop import train
    from compression.train.params import TrainParams

    if ctx.dataset is None:
        raise RecipeError("Teachers need rows to train on; run the recipe with a dataset, or remove the step.")
    seed = (ctx.seed * 1000 + ctx.step) * 10 + place + 1  # never the seed of the uploaded model's own training
    teacher = zoo.build(architecture, ctx.signature, config, seed=seed)
    outcome = train(teacher, ctx.dataset, TrainParams(epochs=params.epochs, batch_size=params.batch_size),
                    device=ctx.device, seed=seed, report=ctx.report, task=ctx.dataset.description.task,
                    checkpoint=ctx.folder / f"teacher-{place}.ckpt" if ctx.folder else None,
                    stage=f"teacher {place + 1} of {params.n_teachers}")
    return teacher, outcome.best


def _told(scores: "tuple[EpochScore, ...]") -> str:
    title = METRICS[scores[0].metric].title
    return f" (validation {title} of those trained here {', '.join(f'{one.valid[one.metric]:.4f}' for one in scores)})"


@distill_ensemble.named
def _named(params: EnsembleParams) -> str:
    return f"{params.n_teachers + params.with_uploaded} teachers"
