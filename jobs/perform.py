"""What a job does, by the kind of its spec. Runs in the child process; heavy imports happen here and inside functions.

Files go into the artifact store, which takes the same file twice as one; what was found goes back as an Outcome.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compression.spec.code_version import code_version
from compression.spec.records import (
    ImportDataSpec,
    ImportModelSpec,
    Progress,
    Report,
    RunSpec,
    SampleSpec,
    TrainSpec,
)
from jobs.records import Assignment
from storage.digests import manifest_digest
from storage.files import Files
from storage.records import NewData, NewModel, Outcome


def perform(assignment: Assignment, report: Report) -> Outcome:
    """Do the job and store its files. Raises what the engine raises."""
    report(Progress(stage="load"))
    outcome = KINDS[assignment.spec.kind](assignment, assignment.spec, Files(Path(assignment.files)), report)
    return outcome.model_copy(update={"code_version": code_version()})


def perform_run(assignment: Assignment, spec: RunSpec, files: Files, report: Report) -> Outcome:
    """Compress, export and measure."""
    from compression.running.machine import cache_origin
    from compression.running.run import run
    from compression.running.step_cache import StepCache

    origin = cache_origin(spec.model, spec.data, code=code_version())
    cache = (StepCache(assignment.cache, origin, assignment.cache_bytes, spec.target)
             if assignment.cache_bytes else None)
    result, kept = run(spec, model_folder=_model_folder(assignment, files), data_folder=_data_folder(assignment, files),
                       folder=assignment.work, report=report, cache=cache, events=assignment.events)
    report(Progress(stage="store"))
    manifest = {name: files.put(path) for name, path in kept.items()}
    return Outcome(result=result.model_copy(update={"files": manifest}))


def perform_train(assignment: Assignment, spec: TrainSpec, files: Files, report: Report) -> Outcome:
    """Train a reference model."""
    from compression.models.zoo import ARCHITECTURES
    from compression.running.reference import train_reference

    folder, description, notes = train_reference(spec, data_folder=_data_folder(assignment, files),
                                                 folder=assignment.work, report=report, events=assignment.events)
    report(Progress(stage="store"))
    title = ARCHITECTURES[spec.architecture].title
    return Outcome(model=NewModel(
        name=spec.name or f"{title} on {assignment.data_name}", architecture=spec.architecture,
        manifest=files.put_folder(folder), description=description, origin="trained", data=spec.data,
        notes=plain(notes)))


def perform_sample(assignment: Assignment, spec: SampleSpec, files: Files, report: Report) -> Outcome:
    """Fetch or generate a sample; its reference model is trained by a job of its own, queued with the dataset."""
    from compression.data.samples import fetch_sample

    folder = fetch_sample(spec.sample, assignment.work / "sample", report, fallback=True, seed=spec.seed)
    dataset = _new_dataset(folder, files, report, origin="sample")
    if spec.architecture is None:
        return Outcome(dataset=dataset)
    training = TrainSpec(data=manifest_digest(dataset.manifest), architecture=spec.architecture, seed=spec.seed)
    return Outcome(dataset=dataset, next_jobs=(training,))


def perform_import_data(assignment: Assignment, spec: ImportDataSpec, files: Files, report: Report) -> Outcome:
    """Check an uploaded dataset against its description."""
    from compression.data.description import dump_description, make_description

    folder = files.materialise(spec.files, _inputs(assignment, "upload"))
    description = make_description({**spec.description, "name": spec.name}, where="the description")
    path = folder / "data.yaml"
    path.unlink(missing_ok=True)  # an uploaded one is a link into the store: never written in place
    path.write_text(dump_description(description), encoding="utf-8")
    return Outcome(dataset=_new_dataset(folder, files, report, origin="uploaded"))


def perform_import_model(assignment: Assignment, spec: ImportModelSpec, files: Files, report: Report) -> Outcome:
    """Check an uploaded model, and bind its inputs to a dataset's columns."""
    from compression.importers import import_model
    from compression.importers.beside import with_vocabularies
    from compression.importers.binding.vocabularies import prepare
    from compression.importers.kept import LOOKS, KeptLook
    from compression.importers.sandbox.process import open_in_sandbox
    from compression.running.first_look import first_look

    upload = files.materialise(spec.files, _inputs(assignment, "upload"))
    data_folder = _data_folder(assignment, files) if spec.data else None
    folder = assignment.work / "imported"
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt before
    report(Progress(stage="check"))
    kept = KeptLook.of(Path(assignment.files).parent / LOOKS, spec.files)
    given = open_in_sandbox({name: upload / name for name in spec.files}, _inputs(assignment, "opened"), kept)
    binding = spec.binding
    if data_folder and binding.get("inputs"):
        binding, built = prepare(binding, given, data_folder)
        given = with_vocabularies(given, built, assignment.work)
    description = import_model(given, folder, data_folder=data_folder, binding=binding or None)
    notes: dict[str, Any] = {"upload": spec.files}  # kept with the model, so that it can be bound again
    if data_folder:  # a model that doesn't fit its data is kept: its binding can be corrected on its page
        notes["first_look"] = first_look(folder, data_folder, scratch=assignment.work / "look", report=report)
        notes["binding"] = spec.binding
    report(Progress(stage="store"))
    return Outcome(model=NewModel(
        name=spec.name, architecture=description.architecture, manifest=files.put_folder(folder),
        description=description, origin="uploaded", data=spec.data, notes=plain(notes),
        replaces=spec.replaces))


def plain(notes: dict[str, Any]) -> dict[str, Any]:
    """Notes as JSON holds them: records become mappings, tuples lists, paths text."""
    from pydantic import TypeAdapter

    return TypeAdapter(dict[str, Any]).dump_python(notes, mode="json", fallback=str)


def _new_dataset(folder: Path, files: Files, report: Report, *, origin: str) -> NewData:
    from compression.data.description import load_description
    from compression.data.summary import summarise

    report(Progress(stage="summarise"))
    summary = summarise(folder)
    description = load_description(folder)
    report(Progress(stage="store"))
    # only what the description names: nothing else of an upload is kept
    names = {"data.yaml", *description.file_names}
    manifest = {name: files.put(folder / name) for name in sorted(names)}
    return NewData(name=description.name, manifest=manifest, description=description,
                   summary=summary.model_dump(mode="json"), origin=origin)


def _inputs(assignment: Assignment, name: str) -> Path:
    return assignment.inputs / name


def _model_folder(assignment: Assignment, files: Files) -> Path:
    assert assignment.model_manifest is not None, "the worker looks the model up for a run"
    return files.materialise(assignment.model_manifest, _inputs(assignment, "model"))


def _data_folder(assignment: Assignment, files: Files) -> Path:
    assert assignment.data_manifest is not None, "the worker looks the dataset up"
    return files.materialise(assignment.data_manifest, _inputs(assignment, "data"))


KINDS: dict[str, Callable[[Assignment, Any, Files, Report], Outcome]] = {
    "run": perform_run,
    "train": perform_train,
    "sample": perform_sample,
    "import_data": perform_import_data,
    "import_model": perform_import_model,
}
