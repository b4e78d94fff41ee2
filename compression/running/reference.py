"""A model of the zoo, trained on a dataset: settings by the size of the data, tuned where asked, and a first look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compression.data.dataset import Dataset
from compression.data.encode import load_dataset
from compression.models import zoo
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.running.first_look import look_at_trained, look_sentence
from compression.running.machine import compute_device
from compression.running.run import describe_exported, export_baseline, warn
from compression.running.tuning import tune
from compression.spec.method import parsed_params
from compression.spec.metrics import METRICS
from compression.spec.records import ModelDescription, Progress, Report, TrainSpec
from compression.spec.task import TASKS
from compression.train.loop import train
from compression.train.outcome import STILL_IMPROVING, still_improving
from compression.train.starting import ReferenceParams, starting_settings


def train_reference(
    spec: TrainSpec, *, data_folder: Path, folder: Path, report: Report, events: Path | None = None
) -> tuple[Path, ModelDescription, dict[str, Any]]:
    """Train a model of the zoo on a dataset, with early stopping on validation.

    Gives the model's folder, its description, and notes on the training: every epoch, the settings, what a tuning
    tried, the quality of the test rows beside a constant and a logistic regression. A killed training goes on from
    its checkpoint in `folder`. Settings are checked before the data is read. `events`: a folder for TensorBoard.
    Raises RecipeError, ModelError, DataError or ExportError.
    """
    parsed_params(ReferenceParams, spec.training, owner="training")
    zoo.parse_config(spec.architecture, spec.config)
    report(Progress(stage="load"))
    dataset = load_dataset(data_folder)
    warn(dataset, report)
    params, config, tuned = starting_of(spec, dataset), spec.config, {}
    if spec.tune:
        found = tune(spec.architecture, config, params, dataset, n_trials=spec.tune, folder=folder, report=report,
                     seed=spec.seed)
        params, config = params.model_copy(update=found.training), config | found.config
        tuned = {"tuning": [trial.as_notes() for trial in found.trials], "tuned": found.sentence}
    model = zoo.build(spec.architecture, dataset.signature, config, seed=spec.seed,
                      embedding_std=params.embedding_std)
    outcome = train(
        model,
        dataset,
        params,
        device=compute_device(),
        seed=spec.seed,
        report=report,
        checkpoint=folder / "train.ckpt",
        events=events,
        task=dataset.description.task,
    )
    model = model.cpu().eval()
    loaded = LoadedModel(
        module=model,
        signature=dataset.signature,
        vocabularies=dataset.vocabularies,
        architecture=spec.architecture,
        config=model.config,
    )
    report(Progress(stage="save"))
    model_folder = folder / "trained"
    save_model(model_folder, loaded)
    report(Progress(stage="export"))
    exported = export_baseline(loaded, folder / "baseline")
    look = look_at_trained(exported.path, dataset, scratch=folder / "look", report=report, seed=spec.seed)
    notes = outcome.as_notes() | tuned | {"settings": params.model_dump(mode="json"), "first_look": look,
                                          "test_quality": look_sentence(look, TASKS[dataset.description.task])}
    return model_folder, describe_exported(loaded, exported), notes


def starting_of(spec: TrainSpec, dataset: Dataset) -> ReferenceParams:
    """The settings that were given; the others start by the size of the data and its tables."""
    settings = zoo.parse_config(spec.architecture, spec.config)
    start = starting_settings(n_rows=len(dataset.splits["train"]),
                              n_ids=sum(item.cardinality or 0 for item in dataset.signature.inputs),
                              embedding_dim=getattr(settings, "embedding_dim", 1))
    return parsed_params(ReferenceParams, start | spec.training, owner="training")


def training_sentence(notes: dict[str, Any]) -> str:
    """Notes of train_reference in words: which epoch was kept, its validation score, how long it took."""
    kept = notes["best_epoch"]
    best = notes["history"][kept - 1] if kept else notes["start"]
    metric = notes["metric"]
    return (f"epoch {kept} of {len(notes['history'])} kept, validation {METRICS[metric].title} "
            f"{best[f'valid_{metric}']:.4f}, {notes['seconds']:.1f} s"
            + (f"; {STILL_IMPROVING}" if still_improving(notes) else ""))


