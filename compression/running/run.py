"""One run: load → apply the recipe → export → check parity → measure the exported file beside its baseline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from compression.data.dataset import Dataset, Rows
from compression.data.encode import load_dataset
from compression.export.bundle.files import bundle_bytes, write_bundle
from compression.export.onnx import Exported, export_onnx
from compression.export.parity import check_parity
from compression.importers import describe_onnx
from compression.layers.rows.remapped_rows import rows_occurring
from compression.measure import layer_latency
from compression.measure.latency import measure_latency
from compression.measure.quality import measure_quality
from compression.measure.ratings import as_chances
from compression.measure.size import measure_size
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.models.structure import describe, read_signature, table_readers
from compression.running.gate import apply_gated
from compression.running.machine import compute_device, environment
from compression.running.step_cache import Kept, StepCache, taken_sentence
from compression.spec.errors import RecipeError
from compression.spec.method import Context, TimeLayers
from compression.spec.recipe import check, dump_recipe, parse_step, without_training_rows
from compression.spec.records import (
    WARNING,
    Change,
    Measurement,
    ModelDescription,
    Progress,
    Recipe,
    Report,
    Result,
    RunSpec,
    Skip,
    Target,
)
from compression.spec.runtime import RUNTIMES

SCORED_SPLIT = "test"


def run(
    spec: RunSpec,
    *,
    model_folder: Path,
    data_folder: Path,
    folder: Path,
    report: Report,
    cache: StepCache | None = None,
    time_layers: TimeLayers | None = layer_latency.time_layers,
    events: Path | None = None,
) -> tuple[Result, dict[str, Path]]:
    """Compress a model, export it and measure the file.

    `folder` is scratch that survives a retry; fine-tuning keeps its checkpoints there. With a `cache`, whose origin
    names the model and the data, steps that an earlier run began with are taken from it. Layers of methods that claim
    speed are timed by `time_layers`, and stay as they were where they are slower; with None nothing is timed.
    `events`: a folder for TensorBoard, which a fine-tuning writes its epochs to.
    Gives the result and the files to keep: the bundle and the per-row scores.
    Raises RecipeError, ModelError, DataError, ExportError (parity included) or MeasureError.
    """
    started = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_broken(spec.recipe)
    report(Progress(stage="load"))
    loaded = load_model(model_folder)
    dataset = load_dataset(data_folder, signature=loaded.signature, vocabularies=loaded.vocabularies)
    warn(dataset, report)
    rows = dataset.splits[SCORED_SPLIT]
    if dataset.description.is_test_only and (problem := without_training_rows(spec.recipe, dataset.description.name)):
        raise RecipeError(problem)

    outcome = apply_recipe(loaded, spec.recipe, dataset, folder=folder, report=report, cache=cache, target=spec.target,
                           time_layers=time_layers, events=events)
    report(Progress(stage="export"))
    baseline = export_baseline(loaded, folder / "baseline")
    exported = _export(loaded, outcome.model, folder / "model") if spec.recipe.steps else baseline
    report(Progress(stage="check parity"))
    parity = None
    if outcome.model is not None:
        parity = check_parity(outcome.model, loaded.signature, exported.path, rows, target=spec.target)

    measurements, baseline_measurements, scores = measure(
        exported.path, baseline.path, rows, spec, task=dataset.description.task, report=report,
        chances=lambda scores: as_chances(scores, loaded.signature, dataset.description),
    )
    signature = read_signature(outcome.model, loaded.signature)
    for measured, file, reads in ((measurements, exported, signature),
                                  (baseline_measurements, baseline, read_signature(loaded.module, loaded.signature))):
        needed = bundle_bytes(file, reads, vocabularies=loaded.vocabularies, description=dataset.description,
                              target=spec.target, folder=folder)
        measured.append(Measurement(metric="bundle_bytes", value=float(needed)))
    if parity is not None:
        measurements += [
            Measurement(metric=metric, value=value, n=parity.n_rows, split=SCORED_SPLIT, runtime=spec.target.runtime,
                        device=spec.target.device, threads=spec.target.threads)
            for metric, value in (("parity_error", parity.error), ("layer_parity_error", parity.layer_error))
            if value is not None]

    result = Result(
        spec=spec,
        baseline=tuple(baseline_measurements),
        measurements=tuple(measurements),
        changes=tuple(outcome.changes),
        skipped=tuple(outcome.skipped),
        cached_steps=outcome.cached_steps,
        environment=environment(spec.target),
        started=started,
        ended=time.time(),
    )
    report(Progress(stage="bundle"))
    bundle, result = write_bundle(
        folder / "bundle.zip",
        exported=exported,
        signature=signature,
        vocabularies=loaded.vocabularies,
        recipe=dump_recipe(spec.recipe),
        result=result,
        description=dataset.description,
        architecture=loaded.architecture,
    )
    return result, {"bundle.zip": bundle, "scores.npz": _save_scores(folder / "scores.npz", scores, rows)}


LOOSE = ("it is no layer of its own: the graph reads it in several ways, such as a table that is also the transposed "
         "matrix of the head, or with operators that are no layer")


@dataclass
class Outcome:
    """A model after a recipe, with everything the steps reported."""

    model: nn.Module | None
    changes: list[Change] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    cached_steps: int = 0  # steps at the start that were taken from the cache


def apply_recipe(
    loaded: LoadedModel,
    recipe: Recipe,
    dataset: Dataset,
    *,
    folder: Path,
    report: Report,
    cache: StepCache | None = None,
    target: Target | None = None,
    time_layers: TimeLayers | None = None,
    events: Path | None = None,
) -> Outcome:
    """Apply the steps in order; hooks of earlier steps live until the next fine-tuning.

    The loaded model stays as it is. The cache cuts only where no hook waits for a training, so that a model is all
    there is to keep.
    """
    if loaded.module is None and recipe.steps:
        raise RecipeError(
            "This model can only be measured as it is: some of its operators could not be read. "
            "The Models page names them; choose the empty recipe or upload another export."
        )
    outcome = Outcome(loaded.module)
    hooks: list[Any] = []
    if cache and (kept := cache.longest(recipe)):
        outcome = Outcome(kept.model, list(kept.changes), list(kept.skipped), kept.steps)
        report(Progress(stage="cache", message=taken_sentence(kept.steps)))
    since = time.perf_counter()
    for index, step in enumerate(recipe.steps[outcome.cached_steps :], start=outcome.cached_steps):
        chosen, params = parse_step(step)
        report(Progress(stage="apply", done=index, total=len(recipe.steps), unit="steps", message=chosen.title))
        scratch = folder / f"step-{index}"
        scratch.mkdir(parents=True, exist_ok=True)
        context = Context(
            step=index,
            method=step.method,
            seed=recipe.seed,
            device=compute_device(),
            dataset=dataset,
            frequencies=table_frequencies(outcome.model, dataset),
            signature=loaded.signature,
            teacher=loaded.module,
            hooks=hooks,
            report=report,
            folder=scratch,
            events=events,
            target=target or Target(),
            time_layers=time_layers,
        )
        applied = apply_gated(chosen, outcome.model, params, context)
        outcome.model = applied.model
        outcome.changes += applied.changes
        outcome.skipped += applied.skipped
        if not chosen.trains:
            outcome.skipped += [context.skip(path, LOOSE) for path in getattr(outcome.model, "loose", ())]
        hooks = [] if chosen.trains else hooks + applied.hooks
        if cache and not hooks:
            kept = Kept(index + 1, outcome.model, outcome.changes, outcome.skipped)
            cache.keep(recipe, kept, seconds=time.perf_counter() - since)
            since = time.perf_counter()
    return outcome


def table_frequencies(model: nn.Module, dataset: Dataset) -> dict[str, np.ndarray]:
    """Path of each table → how often each row occurs in the training split, (V,) int64; ids that share a row add up,
    and so do the inputs that share a table.

    Empty where there are no training rows: nothing is known then, which is not the same as rows that never occur.
    """
    if dataset.description.is_test_only:
        return {}
    return {path: sum(rows_occurring(model, path, dataset.frequencies(name)) for name in names)
            for path, names in table_readers(model).items()}


def export_baseline(loaded: LoadedModel, folder: Path) -> Exported:
    """The uploaded model through the same export; a model that can only be measured is taken as it came."""
    if loaded.module is None:
        return Exported.of(loaded.onnx_path)
    return _export(loaded, loaded.module, folder)


def _export(loaded: LoadedModel, model: nn.Module, folder: Path) -> Exported:
    folder.mkdir(parents=True, exist_ok=True)
    return export_onnx(model, loaded.signature, folder / "model.onnx")


def measure(
    path: Path, baseline_path: Path, rows: Rows, spec: RunSpec, *, task: str, report: Report,
    chances: Callable[[np.ndarray], np.ndarray] = lambda scores: scores,
) -> tuple[list[Measurement], list[Measurement], dict[str, np.ndarray]]:
    """Quality, size and latency of the exported file and of its baseline, over the same rows in one process."""
    report(Progress(stage="score", total=2 * len(rows), unit="rows"))
    scores = {}
    for place, (name, file) in enumerate({"baseline": baseline_path, "model": path}.items()):
        with closing(RUNTIMES[spec.target.runtime].open(file, **spec.target.session)) as session:
            scores[name] = chances(session.score(rows.inputs))
        report(Progress(stage="score", done=(place + 1) * len(rows), total=2 * len(rows), unit="rows"))

    report(Progress(stage="measure quality"))
    asked = {"task": task, "split": SCORED_SPLIT}
    baseline = measure_quality(scores["baseline"], None, rows, **asked)
    measurements = measure_quality(scores["model"], scores["baseline"], rows, **asked)
    report(Progress(stage="measure size"))
    for measured, file in ((baseline, baseline_path), (measurements, path)):
        measured += measure_size(file, rows, target=spec.target)
    report(Progress(stage="measure latency"))
    latency, baseline_latency = measure_latency(
        path, baseline_path, rows, spec.target, seed=spec.recipe.seed, report=report
    )
    return measurements + latency, baseline + baseline_latency, scores


def describe_model(loaded: LoadedModel, folder: Path) -> ModelDescription:
    """The description of a model, with the bytes its exported graph adds to the weights."""
    if loaded.module is None:
        return describe_onnx(loaded)
    return describe_exported(loaded, export_baseline(loaded, folder))


def describe_exported(loaded: LoadedModel, exported: Exported) -> ModelDescription:
    """The same of a model that was exported already."""
    return describe(loaded.module, loaded.signature, architecture=loaded.architecture, graph_bytes=exported.graph_bytes)


def warn(dataset: Dataset, report: Report) -> None:
    if dataset.warnings:
        report(Progress(stage=WARNING, message=" ".join(dataset.warnings)))


def _refuse_broken(recipe: Recipe) -> None:
    errors = [problem for problem in check(recipe) if problem.severity == "error"]
    if errors:
        raise RecipeError(" ".join(f"Step {problem.step + 1}: {problem.message}" for problem in errors))


def _save_scores(path: Path, scores: dict[str, np.ndarray], rows: Rows) -> Path:
    """Per-row scores, so that paired tests and slices need no re-run."""
    columns = {name: values.astype(np.float32) for name, values in scores.items()}
    if rows.user is not None:
        columns["user"] = rows.user
    np.savez_compressed(path, label=rows.label, **columns)
    return path
