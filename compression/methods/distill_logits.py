"""Distillation: a smaller model of the same architecture learns from the model it replaces.

Sources: Hinton, Vinyals & Dean 2015, arXiv:1503.02531; for click models Zhu et al. 2020, arXiv:2011.04106.
Here: the student's tables start as the teacher's, projected on the directions that keep most of them; one basis
serves all tables, so that dot products between fields survive. Layers of unchanged shape start as copies.
Legend: D the teacher's embedding dim, d the student's, F fields, V rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from compression.errors import RecipeError
from compression.method import Applied, Context, ExportForm, Gain, Need, Params, Problem, Stage, method
from compression.records import Layer, ModelDescription, Part, Step

if TYPE_CHECKING:
    import torch
    from torch import nn


class DistillParams(Params):
    """How small the student is, and how much it listens to the teacher."""

    width_ratio: float = Field(0.5, ge=0.05, le=1, multiple_of=0.05,
                               description="Hidden units of the student as a share of the teacher's, "
                                           "rounded to a multiple of 8.")
    embedding_ratio: float = Field(1.0, ge=0.05, le=1, multiple_of=0.05,
                                   description="Embedding dim of the student as a share of the teacher's.")
    alpha: float = Field(0.2, ge=0, le=1, multiple_of=0.05,
                         description="Share of the loss that compares with the teacher; the rest compares with "
                                     "the labels.")
    temperature: float = Field(2.0, ge=1, le=20, multiple_of=0.5,
                               description="Softens both scores before they are compared.")


def student_width(width: int, ratio: float) -> int:
    """Hidden units rounded to a multiple of 8, as the zoo has them: at least 8, at most the teacher's."""
    return max(8, min(width, 8 * round(width * ratio / 8)))


def student_dim(dim: int, ratio: float) -> int:
    return max(1, round(dim * ratio))


def student_config(config: dict[str, Any], params: DistillParams) -> dict[str, Any]:
    """The teacher's settings with its widths and its embedding dim made smaller."""
    smaller = dict(config)
    for name in ("width", "bottom_width"):
        if name in config:
            smaller[name] = student_width(config[name], params.width_ratio)
    if "embedding_dim" in config:
        smaller["embedding_dim"] = student_dim(config["embedding_dim"], params.embedding_ratio)
    return smaller


@method("distill.logits", DistillParams, title="Distillation",
        summary="Replaces the model by a smaller one that learns from its scores.",
        stage=Stage.DURING_TRAINING, parts=set(Part), needs={Need.LABELS, Need.TEACHER, Need.FINE_TUNE},
        export=ExportForm.PLAIN, gains={Gain.SMALLER, Gain.FASTER, Gain.QUALITY},
        source="Hinton et al. 2015, arXiv:1503.02531",
        tiny={"embedding_ratio": 0.5}, no_op={"width_ratio": 1.0, "embedding_ratio": 1.0})
def distill_logits(model: "nn.Module", params: DistillParams, ctx: Context) -> Applied:
    """Build the student and give the next fine-tuning a loss that listens to the teacher.

    Raises RecipeError for a model that isn't one of the zoo: its student can't be sized.
    """
    from compression.models import zoo
    from compression.models.structure import leaves
    from compression.train.distillation_hook import DistillationHook

    teacher = ctx.teacher
    architecture, config = getattr(model, "architecture", None), getattr(model, "config", None)
    if teacher is None or architecture not in zoo.ARCHITECTURES or config is None or ctx.signature is None:
        raise RecipeError("Distillation sizes a student of the same architecture, so it needs a model trained here or "
                          f"uploaded with its config; this one is {architecture or 'a plain graph'}. "
                          "Remove the step, or use prune.channels and factorize.svd instead.")
    student = zoo.build(architecture, ctx.signature, student_config(config, params), seed=ctx.seed)
    _start_from_teacher(student, model, ctx)
    student.train(model.training)

    applied = Applied(student, hooks=[DistillationHook(teacher, alpha=params.alpha, temperature=params.temperature)])
    before = dict(leaves(model))
    for path, leaf in leaves(student):
        old, new = _bytes(before[path]), _bytes(leaf)
        if old == new:
            applied.skipped.append(ctx.skip(path, "same shape as the teacher's: starts as its copy"))
        else:
            how = "starts from the teacher's table" if path.startswith("tables.") else "starts from random weights"
            applied.changes.append(ctx.change(path, old, new, f"{_shape(before[path])} → {_shape(leaf)}; {how}"))
    return applied


def _start_from_teacher(student: "nn.Module", teacher: "nn.Module", ctx: Context) -> None:
    """Copy what has the same shape, project the vectors of every field; the rest keeps its random start."""
    import torch

    old, new = teacher.state_dict(), student.state_dict()
    vectors = [name for name in new if name.startswith("tables.") and new[name].shape != old[name].shape]
    start = {name: old[name] for name in new if new[name].shape == old[name].shape}
    if vectors:
        basis = shared_basis({name: old[name] for name in vectors}, ctx)[:, :new[vectors[0]].shape[-1]]
        start |= {name: (old[name].double() @ basis).to(torch.float32) for name in vectors}
    student.load_state_dict(start, strict=False)


def shared_basis(tables: "dict[str, torch.Tensor]", ctx: Context) -> "torch.Tensor":
    """Directions (D, D) in columns, by how much of all rows they keep; rows count by how often they occur."""
    import torch

    from compression.methods.factorize_svd import basis_of, gram_matrix

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
    return f"student {params.width_ratio:g}"


@distill_logits.check
def _check(params: DistillParams, index: int, steps: tuple[Step, ...]) -> Iterator[Problem]:
    if index > 0:
        yield Problem(index, "error", "Distillation replaces the whole model, so what earlier steps did would be lost; "
                                      "make it the first step.")


@distill_logits.estimate
def _estimate(layers: tuple[Layer, ...], params: DistillParams) -> tuple[Layer, ...]:
    """The student's shapes, by the names the zoo gives its layers; other models stay as they are."""
    vectors = [layer for layer in layers if layer.name.startswith("tables.")]
    dim = vectors[0].shape[-1] if vectors else 0
    smaller = student_dim(dim, params.embedding_ratio) if vectors else 0
    has_bottom = any(layer.name.startswith("bottom.") for layer in layers)
    gone = (1 if has_bottom else len(vectors)) * (dim - smaller)  # inputs the top MLP and the cross layers lose

    ends = {part: max((layer.name for layer in layers if layer.name.startswith(f"{part}.") and layer.kind == "Linear"),
                      key=_number, default="") for part in ("mlp", "bottom")}
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        group = layer.name.split(".")[0]
        shape = list(layer.shape)
        if group == "tables":
            shape[-1] = smaller
        elif group in ("cross", "cross_output"):
            shape = [size - gone if size > 1 else size for size in shape]
        elif group in ends:
            if layer.name == ends[group]:
                shape[0] = smaller if group == "bottom" else shape[0]
            else:
                shape[0] = student_width(shape[0], params.width_ratio)
            if len(shape) == 2:
                first = layer.name == f"{group}.0"
                shape[1] = (shape[1] - (gone if group == "mlp" else 0)) if first else student_width(
                    shape[1], params.width_ratio)
        shapes[layer.name] = tuple(shape)
    return tuple(_reshaped(layer, shapes[layer.name]) for layer in layers)


def _number(name: str) -> int:
    return int(name.rsplit(".", 1)[1])


def _reshaped(layer: Layer, shape: tuple[int, ...]) -> Layer:
    tensors = tuple(item.model_copy(update={"shape": shape if len(item.shape) == len(shape) else shape[:1]})
                    for item in layer.tensors)
    return layer.model_copy(update={"shape": shape, "tensors": tensors})
