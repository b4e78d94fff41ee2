"""Field pruning: the inputs a model needs least are no longer read, and leave the signature of the exported file.

Sources: Breiman 2001 (permutation importance); Fisher et al. 2019, arXiv:1801.01489 (as the rise of the loss).
Here: one input after the other goes, and the rest is judged anew each time, because two inputs that say the same both
look useless until one is gone. What is left of an input is a constant: each of its tables shrinks to its mean row, a
number to its mean, both over the training rows. That is exact in every architecture, also where vectors are multiplied.
Where an MLP of the zoo reads the vectors side by side, the constant goes into its first bias and the columns go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.shared_params import ValidationRows
from compression.spec.effects import TABLES, Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Stage, copy_structure, method
from compression.spec.records import ModelDescription, Part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compression.data.batches import DeviceRows
    from compression.spec.signature import Input

MEAN_ROWS = 100_000  # training rows over which means are taken


class FieldsParams(ValidationRows):
    """How many inputs go, and what tells them from the others."""

    n_fields: int = Field(1, ge=0, le=64, description="Inputs that go, the least needed first; one always stays.")
    judged_by: Literal["permutation", "mean"] = Field(
        "permutation", description="Log loss on validation with the input's values shuffled among the rows, or with "
                                   "its mean in their place, as it will be afterwards.")
    among: Literal["all", "tables"] = Field(
        "all", description="Every input, or only those with tables: a number costs the file next to nothing.")
    max_rise: float = Field(1.0, ge=0, le=1, multiple_of=0.0001,
                            description="Stop before validation log loss has risen by more than this; 1 is no limit.")
    n_repeats: int = Field(2, ge=1, le=20, description="Shuffles averaged for each input.")


@method("prune.fields", FieldsParams, title="Field pruning",
        summary="Drops the inputs the model needs least, from the model and from the exported file's signature.",
        stage=Stage.AFTER_TRAINING, parts={Part.EMBEDDING}, needs={Need.LABELS}, export=ExportForm.PLAIN,
        source="Breiman 2001; Fisher et al. 2019, arXiv:1801.01489",
        tiny={}, no_op={"n_fields": 0}, estimate_is_bound=True, gains={Gain.SMALLER, Gain.FASTER},
        effects=Effects(makes={Effect.SMALLER: TABLES | {Part.DENSE}}))
def prune_fields(model: "nn.Module", params: FieldsParams, ctx: Context) -> Applied:
    """Drop inputs one after the other, least harm first. Raises RecipeError without a dataset."""
    from compression.data.batches import drawn_rows
    from compression.models.constant_inputs import drop_input
    from compression.models.structure import leaves, part_of, read_signature, table_inputs
    from compression.observe.importance import loss_of

    if ctx.dataset is None or ctx.signature is None:
        raise RecipeError("Field pruning judges inputs by validation rows; run the recipe with a dataset.")
    before = {path: _bytes(leaf) for path, leaf in leaves(model)}
    tables = {path for path in before if part_of(model, path) is Part.EMBEDDING}
    applied = Applied(model)
    left = read_signature(model, ctx.signature).inputs
    candidates = [item for item in left if not item.parts and (
        params.among == "all" or item.name in table_inputs(model).values())]
    generator = ctx.generator
    rows = drawn_rows(ctx.dataset.splits["valid"], params.max_rows, generator)
    start = loss_of(model, rows) if params.n_fields else 0.0
    told: dict[str, str] = {}
    for _ in range(min(params.n_fields, len(left) - 1)):
        if not candidates:
            break
        means = {item.name: _means(model, item, ctx) for item in candidates}
        rises = {item.name: _rise(model, item, means[item.name], rows, params, generator) for item in candidates}
        least = min(candidates, key=lambda item: rises[item.name])
        trial = _without(model, least, means[least.name])
        now = loss_of(trial, rows)
        if params.max_rise < 1 and now - start > params.max_rise:
            break
        detail = (f"input {least.name!r} is dropped: {params.judged_by} importance {rises[least.name]:+.5f}, "
                  f"validation log loss {start:.5f} → {now:.5f}")
        told |= dict.fromkeys(means[least.name][0], detail)
        if not means[least.name][0]:  # a number that enters an MLP as it is
            applied.changes.append(ctx.change(f"input {least.name}", 0, 0, detail))
        drop_input(model, least, *means[least.name])
        candidates.remove(least)
    after = {path: _bytes(leaf) for path, leaf in leaves(model)}
    _report(applied, {path: size for path, size in before.items() if path in tables}, after, told, params, ctx)
    for path, size in before.items():
        if path not in tables and after[path] != size:
            detail = "columns of dropped inputs are taken up by its bias"
            applied.changes.append(ctx.change(path, size, after[path], detail))
    return applied


def _report(applied: Applied, before: dict[str, int], after: dict[str, int], told: dict[str, str],
            params: FieldsParams, ctx: Context) -> None:
    """A change for each table that shrank, with all its leaves; a skip for every other."""
    done = {item.module for item in applied.changes}
    for path, size in before.items():
        table = next((gone for gone in told if path == gone or path.startswith(gone + ".")), None)
        if table is None and path not in done:
            reason = "no input was to go" if params.n_fields == 0 else "its input is needed more than those that went"
            applied.skipped.append(ctx.skip(path, reason))
        elif table is not None:
            applied.changes.append(ctx.change(path, size, after.get(table, 0) if table not in done else 0, told[table]))
            done.add(table)


def _means(model: "nn.Module", item: "Input", ctx: Context) -> "tuple[dict[str, torch.Tensor], float]":
    """The mean row of each of an input's tables, and the mean of a number."""
    import torch

    from compression.models.constant_inputs import mean_rows, tables_of

    values = ctx.dataset.splits["train"].inputs[item.name][:MEAN_ROWS]
    mean = float(values.mean()) if item.kind == "number" else 0.0
    return mean_rows(model, tables_of(model, item), torch.from_numpy(values)), mean


def _rise(model: "nn.Module", item: "Input", means: "tuple[dict[str, torch.Tensor], float]", rows: "DeviceRows",
          params: FieldsParams, generator: "torch.Generator") -> float:
    from compression.observe.importance import loss_of, permutation_importance

    if params.judged_by == "mean":
        return loss_of(_without(model, item, means), rows) - loss_of(model, rows)
    return permutation_importance(model, rows, item.name, generator=generator, n_repeats=params.n_repeats)


def _without(model: "nn.Module", item: "Input", means: "tuple[dict[str, torch.Tensor], float]") -> "nn.Module":
    from compression.models.constant_inputs import drop_input

    trial = copy_structure(model)
    drop_input(trial, item, *means)
    return trial


def _bytes(leaf: "nn.Module") -> int:
    """What the leaf's stored tensors weigh."""
    if hasattr(leaf, "stored_tensors"):
        return sum(tensor.size_bytes for tensor in leaf.stored_tensors())
    return 4 * sum(tensor.numel() for tensor in leaf.parameters())


@prune_fields.named
def _named(params: FieldsParams) -> str:
    return f"{params.n_fields} fewer field{'' if params.n_fields == 1 else 's'}"


@prune_fields.fits
def _fits(description: ModelDescription) -> str:
    inputs = description.signature["inputs"]
    if len(inputs) < 2:
        return "This model has one input, and one has to stay."
    return "" if any(not item.get("parts") for item in inputs) else "Its inputs are wide and stay whole."
