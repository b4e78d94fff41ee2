"""Distillation: a smaller model, of the same architecture or of another, learns from the model it replaces.

Sources: Hinton, Vinyals & Dean 2015, arXiv:1503.02531; for click models Zhu et al. 2020, arXiv:2011.04106.
Here: the student's tables start as the teacher's, projected on the directions that keep most of them; one basis
serves all tables, so that dot products between fields survive. Layers of unchanged shape start as copies, in another
architecture the tables alone.
Legend: D the teacher's embedding dim, d the student's, F fields, V rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from compression.methods.shared_params import SoftScores
from compression.spec.digests import LATER
from compression.spec.effects import ALL_PARTS, Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, method
from compression.spec.records import Layer, ModelDescription, Part

if TYPE_CHECKING:
    import torch
    from torch import nn


MOST_DROPOUT = 0.9  # what the zoo allows, in steps of 0.05
Student = Literal["same", "deepfm", "dcnv2", "dlrm", "widedeep", "dnn", "finalmlp", "fieldconv", "fm", "lr"]


class DistillParams(SoftScores):
    """How small the student is, and how much it listens to the teacher."""

    width_ratio: float = Field(0.5, ge=0.05, le=1, multiple_of=0.05,
                               description="Hidden units of the student as a share of the teacher's, "
                                           "rounded to a multiple of 8.")
    embedding_ratio: float = Field(1.0, ge=0.05, le=1, multiple_of=0.05,
                                   description="Embedding dim of the student as a share of the teacher's.")
    architecture: Student = Field(
        "same", description="Architecture of the student. In another one, what the teacher's settings don't say starts "
                            "from the defaults.")
    n_layers: int = Field(0, ge=0, le=6, description="Hidden layers of the student's deep part; 0 keeps their number.")
    dropout_ratio: Annotated[float, LATER] = Field(
        1.0, ge=0, le=2, multiple_of=0.05, description="Dropout of the student as a share of the teacher's; a smaller "
                                                       "network often needs less.")
    alpha: float = Field(0.2, ge=0, le=1, multiple_of=0.05,
                         description="Share of the loss that compares with the teacher; the rest compares with "
                                     "the labels.")


def student_width(width: int, ratio: float) -> int:
    """Hidden units rounded to a multiple of 8, as the zoo has them: at least 8, at most the teacher's."""
    return max(8, min(width, 8 * round(width * ratio / 8)))


def student_dim(dim: int, ratio: float) -> int:
    return max(1, round(dim * ratio))


def student_of(architecture: str, config: dict[str, Any], params: DistillParams) -> tuple[str, dict[str, Any]]:
    """Architecture and settings of the student: the teacher's where it has them, its widths made smaller."""
    from compression.models.zoo import parse_config

    chosen = architecture if params.architecture == "same" else params.architecture
    settings = parse_config(chosen, {}).model_dump()
    settings |= {name: value for name, value in config.items() if name in settings}
    for name in ("width", "bottom_width", "channels"):
        if name in settings:
            settings[name] = student_width(settings[name], params.width_ratio)
    if "dropout" in settings:
        settings["dropout"] = min(MOST_DROPOUT, round(round(settings["dropout"] * params.dropout_ratio * 20) / 20, 2))
    if "embedding_dim" in settings:
        settings["embedding_dim"] = student_dim(settings["embedding_dim"], params.embedding_ratio)
    if "n_layers" in settings and params.n_layers:
        settings["n_layers"] = params.n_layers
    return chosen, settings


@method("distill.logits", DistillParams, title="Distillation",
        summary="Replaces the model by a smaller one that learns from its scores.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN, gains={Gain.SMALLER, Gain.FASTER, Gain.QUALITY},
        source="Hinton et al. 2015, arXiv:1503.02531",
        tiny={"embedding_ratio": 0.5}, no_op={"width_ratio": 1.0, "embedding_ratio": 1.0},
        effects=Effects(makes={Effect.OTHER_MODEL: ALL_PARTS, Effect.LOSS: ALL_PARTS}))
def distill_logits(model: "nn.Module", params: DistillParams, ctx: Context) -> Applied:
    """Build the student and give the next fine-tuning a loss that listens to the teacher.

    Raises RecipeError for a model that isn't one of the zoo: its student can't be sized.
    """
    from compression.models import zoo
    from compression.train.hooks.distillation import DistillationHook

    teacher = ctx.teacher
    architecture, config = getattr(model, "architecture", None), getattr(model, "config", None)
    if teacher is None or architecture not in zoo.ARCHITECTURES or config is None or ctx.signature is None:
        raise RecipeError("Distillation sizes its student by the layers of a model of the zoo, so it needs a model "
                          f"trained here or uploaded with its config; this one is {architecture or 'a plain graph'}. "
                          "Remove the step, or use channel pruning and low rank (SVD) instead.")
    chosen, settings = student_of(architecture, config, params)
    student = zoo.build(chosen, ctx.signature, settings, seed=ctx.seed)
    _start_from_teacher(student, model, ctx)
    student.train(model.training)
    hook = DistillationHook(teacher, alpha=params.alpha, temperature=params.temperature,
                            schedule=params.schedule)
    applied = Applied(student, hooks=[hook])
    _report(applied, model, ctx)
    return applied


def _report(applied: Applied, teacher: "nn.Module", ctx: Context) -> None:
    """What became of each layer of the teacher, and which layers the student has beside them."""
    from compression.models.structure import leaves

    before, after = dict(leaves(teacher)), dict(leaves(applied.model))
    same_kind = applied.model.architecture == teacher.architecture
    for path in [*before, *(path for path in after if path not in before)]:
        old, new = (_bytes(known[path]) if path in known else 0 for known in (before, after))
        if path not in after:
            applied.changes.append(ctx.change(path, old, 0, f"gone: the student is {applied.model.architecture}"))
        elif path not in before:
            applied.changes.append(ctx.change(path, 0, new, f"{_shape(after[path])}; starts from random weights"))
        elif _shape(before[path]) == _shape(after[path]) and (same_kind or _is_vectors(path)):
            applied.skipped.append(ctx.skip(path, "same shape as the teacher's: starts as its copy"))
        else:
            how = "starts from the teacher's table" if path.startswith("tables.") else "starts from random weights"
            applied.changes.append(
                ctx.change(path, old, new, f"{_shape(before[path])} → {_shape(after[path])}; {how}"))


def _is_vectors(name: str) -> bool:
    """Whether a layer holds a field's vectors, which mean the same in every architecture."""
    return name.startswith(("tables.", "first_order."))


def _start_from_teacher(student: "nn.Module", teacher: "nn.Module", ctx: Context) -> None:
    """Copy what has the same shape, project the vectors of every field; the rest keeps its random start."""
    import torch

    old, new = teacher.state_dict(), student.state_dict()
    known = [name for name in new if name in old and (student.architecture == teacher.architecture
                                                      or _is_vectors(name))]
    vectors = [name for name in known if name.startswith("tables.") and new[name].shape[-1] < old[name].shape[-1]]
    start = {name: old[name] for name in known if new[name].shape == old[name].shape}
    if vectors:
        basis = shared_basis({name: old[name] for name in vectors}, ctx)[:, :new[vectors[0]].shape[-1]]
        start |= {name: (old[name].double() @ basis).to(torch.float32) for name in vectors}
    student.load_state_dict(start, strict=False)


def shared_basis(tables: "dict[str, torch.Tensor]", ctx: Context) -> "torch.Tensor":
    """Directions (D, D) in columns, by how much of all rows they keep; rows count by how often they occur."""
    import torch

    from compression.methods.factorize.svd import basis_of, gram_matrix

    gram = torch.zeros(1, 1, dtype=torch.float64)
    for name, table in tables.items():
        counts = ctx.frequencies.get(name.removesuffix(".weight"))
        weights = None if counts is None else torch.from_numpy(counts)
        gram = gram + gram_matrix(table.reshape(-1, table.shape[-1]), weights)
    return basis_of(gram)[1]


def _bytes(leaf: "nn.Module") -> int:
    return 4 * sum(tensor.numel() for tensor in leaf.state_dict().values() if tensor.is_floating_point())


def _shape(leaf: "nn.Module") -> str:
    first = next(iter(leaf.parameters()))
    return " × ".join(f"{length:,}" for length in first.shape)


@distill_logits.fits
def _fits(description: ModelDescription) -> str:
    from compression.models import zoo

    known = description.architecture in zoo.ARCHITECTURES
    return "" if known else "A student is sized by the settings of an architecture of the zoo; this model has none."


@distill_logits.named
def _named(params: DistillParams) -> str:
    student = "student" if params.architecture == "same" else f"{params.architecture} student"
    return f"{student} {params.width_ratio:g}"


@distill_logits.estimate
def _estimate(layers: tuple[Layer, ...], params: DistillParams) -> tuple[Layer, ...]:
    """The student's layers by its settings, which the teacher's shapes tell; other models stay as they are."""
    from compression.models.zoo.shapes import layers_of, settings_of

    teacher = settings_of(layers)
    if teacher is None:
        return layers
    chosen, settings = student_of(teacher.architecture, teacher.config, params)
    return layers_of(chosen, settings, teacher.fields)
