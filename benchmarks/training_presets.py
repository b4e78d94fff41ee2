"""What the presets that train gain from their training: each recipe with and without its training steps.

    python -m benchmarks.training_presets --folder WORK [--adult FOLDER] [--indexed FOLDER] [--seeds 1]

DeepFM with today's defaults on the sets of benchmarks/training.py. Quality is read off the exported file on the test
rows; differences are paired (DeLong et al. 1988). What is finished is kept in WORK. Writes
docs/results/training_presets.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import numpy as np
import torch

from benchmarks import report
from benchmarks.training import SETS, Bench, keep
from compression.data.dataset import Dataset
from compression.data.scores import auc
from compression.measure.delong import auc_components
from compression.models import zoo
from compression.models.folder import LoadedModel
from compression.running.first_look import score
from compression.running.reference import starting_of
from compression.running.run import apply_recipe, describe_model
from compression.spec.presets import PRESETS, Preset
from compression.spec.recipe import digest, trains
from compression.spec.records import Recipe, TrainSpec
from compression.train.loop import train

ARCHITECTURE = "deepfm"
NOTHING_BETTER = "none"
WITH, WITHOUT, WHOLE = "with", "without", "model"


def trained(dataset: Dataset, seed: int) -> LoadedModel:
    """DeepFM with today's defaults."""
    params = starting_of(TrainSpec(data="file", architecture=ARCHITECTURE), dataset)
    model = zoo.build(ARCHITECTURE, dataset.signature, {}, seed=seed, embedding_std=params.embedding_std)
    train(model, dataset, params, seed=seed)
    return LoadedModel(model, dataset.signature, dataset.vocabularies, ARCHITECTURE, model.config)


def presets_that_train(loaded: LoadedModel, folder: Path) -> list[Preset]:
    """Those that suit the model; of two with equal steps the first."""
    description, found = describe_model(loaded, folder), {}
    for preset in PRESETS.values():
        if preset.suits(description) and any(map(trains, preset.recipe.steps)):
            found.setdefault(digest(preset.recipe), preset)
    return list(found.values())


def scores_of(loaded: LoadedModel, recipe: Recipe, dataset: Dataset) -> np.ndarray:
    """Probabilities (N,) of the test rows by the exported file."""
    with tempfile.TemporaryDirectory() as scratch:
        outcome = apply_recipe(loaded, recipe, dataset, folder=Path(scratch), report=lambda progress: None)
        made = LoadedModel(outcome.model, loaded.signature, loaded.vocabularies, loaded.architecture, loaded.config)
        return score(made, dataset.splits["test"], Path(scratch) / "scored")


def work(bench: Bench, datasets: dict[str, Dataset]) -> None:
    for seed in range(bench.seeds):
        for key, dataset in datasets.items():
            loaded = None
            for preset in presets_that_train(trained_or_kept(bench, dataset, key, seed), bench.folder / "described"):
                recipe = preset.recipe.model_copy(update={"seed": seed})
                left = tuple(step for step in recipe.steps if not trains(step))
                for name, made in ((WITH, recipe), (WITHOUT, recipe.model_copy(update={"steps": left}))):
                    file = bench.scores_file(key, preset.key, name, seed)
                    if not file.exists():
                        loaded = loaded or trained_or_kept(bench, dataset, key, seed)
                        keep(file, scores_of(loaded, made, dataset))
                        with np.load(file) as kept:
                            print(f"{file.stem}: AUC {auc(kept['scores'], dataset.splits['test'].label):.4f}",
                                  flush=True)


def trained_or_kept(bench: Bench, dataset: Dataset, key: str, seed: int) -> LoadedModel:
    """The model of a set and seed, trained once; its scores are kept beside it."""
    file = bench.folder / "models" / f"{key}.{seed}.pt"
    if not file.exists():
        loaded = trained(dataset, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        keep(bench.scores_file(key, WHOLE, WITH, seed), scores_of(loaded, Recipe(), dataset))
        torch.save(loaded.module.state_dict(), file)
    model = zoo.build(ARCHITECTURE, dataset.signature, {}, seed=seed)
    model.load_state_dict(torch.load(file, weights_only=True))
    return LoadedModel(model.eval(), dataset.signature, dataset.vocabularies, ARCHITECTURE, model.config)


def write_table(bench: Bench, datasets: dict[str, Dataset]) -> None:
    rows, shown, kept, total = [], 0, 0, 0
    for key, dataset in datasets.items():
        positive = dataset.splits["test"].label == 1

        def mean(name: str, kind: str, key: str = key) -> np.ndarray | None:
            files = [bench.scores_file(key, name, kind, seed) for seed in range(bench.seeds)]
            return np.mean([np.load(file)["scores"] for file in files], 0) if all(f.exists() for f in files) else None

        whole = mean(WHOLE, WITH)
        for preset in PRESETS.values():
            after, before = mean(preset.key, WITH), mean(preset.key, WITHOUT)
            if after is None or before is None or whole is None:
                continue
            values = [auc_components(scores, positive) for scores in (whole, before, after)]
            gain = values[2].minus(values[1])
            low, high = gain.interval or (0.0, 0.0)
            kept, shown, total = kept + np.array_equal(after, before), shown + (low > 0), total + 1
            rows.append([SETS[key], preset.recipe.name, *(f"{one.auc:.4f}" for one in values),
                         NOTHING_BETTER if np.array_equal(after, before) else
                         f"{gain.auc:+.4f} [{low:+.4f}, {high:+.4f}]"])
    body = "\n\n".join([
        f"Scores averaged over {bench.seeds} seed(s). The training gains, interval and all, in {shown} of {total}. In "
        f"{kept} others it gave the model back as it came, because no epoch was better on the validation rows.",
        report.table(["data", "preset", "AUC of the model", "without its training", "with", "gain"], rows)])
    report.write("training_presets", "What presets gain from their training", body,
                 command="python -m benchmarks.training_presets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--adult", type=Path)
    parser.add_argument("--indexed", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.folder, options.adult, options.indexed, None, None, options.seeds)
    datasets = bench.datasets()
    work(bench, datasets)
    write_table(bench, datasets)


if __name__ == "__main__":
    main()
