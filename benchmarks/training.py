"""Models of the zoo, trained with today's defaults, with `tune`, with the first release's defaults, and by FuxiCTR.

    python -m benchmarks.training --folder WORK [--adult FOLDER] [--indexed FOLDER]
        [--fuxictr PYTHON --zoo FOLDER] [--ways old new tuned fuxictr] [--seeds 5]

Four architectures, of one width and one embedding dim, on MovieLens-100K, a generated log, and, where their folders
are given, Adult and an indexed sample of Criteo. Each training keeps the scores of its test rows in WORK, so that a
run that was stopped goes on, and several may work side by side with different ways. `--ways` without a value only
writes the table.

FuxiCTR trains in an environment of its own: PYTHON is its interpreter, the zoo a checkout of its repository, whose
models are imported from there. It gets the rows as they are encoded here, in its own loop: Adam over everything, L2 as
part of the loss, a tenth of the rate after an epoch without a better validation AUC, and an end after two.

Scores are averaged over the seeds, and AUCs of two ways compared on the same rows (DeLong et al. 1988). Writes
docs/results/training.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import dataclass
from itertools import product, takewhile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import numpy as np
import torch

from benchmarks import report
from benchmarks.catalogue.references import SOURCES
from benchmarks.training_fuxictr import write_job
from compression.data.batches import score_rows, to_device
from compression.data.click_log import generate_click_log
from compression.data.dataset import Dataset
from compression.data.encode import load_dataset
from compression.data.scores import auc
from compression.measure.delong import auc_components
from compression.models import zoo
from compression.running.reference import starting_of
from compression.running.tuning import tune
from compression.spec.records import TrainSpec
from compression.train.loop import train
from compression.train.params import TrainParams

ARCHITECTURES = ("deepfm", "dcnv2", "dnn", "finalmlp")
SETS = {"movielens": "MovieLens-100K", "indexed": "Criteo, indexed sample", "adult": "Adult", "log": "Generated log"}
LOG_ROWS = 100_000
TRIALS = 8  # short trainings of a tuning
ABOUT = """\
Defaults were chosen with the test scores of these sets in view (docs/decisions/125), so that this shows how the same
settings do on four kinds of data, and not how they do on data nobody has seen. FuxiCTR has the settings that BARS
publishes for MovieLens-latest x1 (2 million rows) and, for the indexed clicks, Criteo x1 (46 million), at our width
and embedding dim. On sets this small its batches of 4,096 make few steps, so that a column with batches of 512 stands
beside it."""
WAYS = ("old", "new", "tuned", "fuxictr", "fuxictr-small")
PAIRS = (("new", "fuxictr"), ("tuned", "fuxictr"), ("new", "fuxictr-small"), ("new", "old"), ("tuned", "new"))
TITLES = {"old": "first release", "new": "defaults", "tuned": "tune", "fuxictr": "FuxiCTR",
          "fuxictr-small": "FuxiCTR, batches of ours"}


@dataclass(frozen=True)
class Bench:
    """Where the work is kept, and what was given for it."""

    folder: Path
    adult: Path | None
    indexed: Path | None
    fuxictr: Path | None
    zoo: Path | None
    seeds: int

    def datasets(self) -> dict[str, Dataset]:
        """Those of which the rows are there or can be had."""
        return {key: self.dataset(key) for key in SETS if key not in ("adult", "indexed") or getattr(self, key)}

    def dataset(self, key: str) -> Dataset:
        folder = self.folder / "data" / key
        if not (folder / "data.yaml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            if key == "log":
                generate_click_log(folder, rows=LOG_ROWS)
            else:
                source = {"movielens": "movielens", "adult": "adult", "indexed": "criteo_indexed"}[key]
                SOURCES[source].write(folder, getattr(self, key, None))
        return load_dataset(folder)

    def scores_file(self, key: str, architecture: str, way: str, seed: int) -> Path:
        return self.folder / "scores" / f"{key}.{architecture}.{way}.{seed}.npz"


def train_here(bench: Bench, dataset: Dataset, key: str, architecture: str, way: str, seed: int) -> None:
    """Train with settings of ours and keep the scores (N,) of the test rows, the seconds and the best epoch."""
    std, config = 0.01, {}
    if way == "old":
        params = TrainParams()
    else:
        spec = TrainSpec(data=key, architecture=architecture, seed=seed)
        if way == "tuned":
            chosen = tuned_settings(bench, dataset, key, architecture)
            spec, config = spec.model_copy(update=chosen), chosen["config"]
        params = starting_of(spec, dataset)
        std = params.embedding_std
    model = zoo.build(architecture, dataset.signature, config, seed=seed, embedding_std=std)
    started = time.process_time()
    outcome = train(model, dataset, params, seed=seed)
    test = dataset.splits["test"]
    keep(bench.scores_file(key, architecture, way, seed), score_rows(model, to_device(test, "cpu")),
         seconds=time.process_time() - started, epochs=len(outcome.history), best=outcome.best_epoch)


def tuned_settings(bench: Bench, dataset: Dataset, key: str, architecture: str) -> dict[str, Any]:
    """`training` and `config` as `tune` chooses them with the first seed; kept."""
    file = bench.folder / "tuned" / f"{key}.{architecture}.json"
    if not file.exists():
        params = starting_of(TrainSpec(data=key, architecture=architecture), dataset)
        started = time.process_time()
        chosen = tune(architecture, {}, params, dataset, n_trials=TRIALS, report=lambda _: None,
                      folder=bench.folder / "tuned" / f"{key}.{architecture}")
        file.write_text(json.dumps({"training": chosen.training, "config": chosen.config,
                                    "trials": [trial.as_notes() for trial in chosen.trials],
                                    "seconds": time.process_time() - started}, indent=1))
    return json.loads(file.read_text())


def train_there(bench: Bench, dataset: Dataset, key: str, architecture: str, way: str, seed: int) -> None:
    """Train in FuxiCTR's loop, in its environment."""
    if bench.fuxictr is None or bench.zoo is None:
        raise SystemExit("FuxiCTR needs --fuxictr, the Python of its environment, and --zoo, a checkout of it.")
    job = bench.folder / "fuxictr" / key
    write_job(job, dataset)
    config = zoo.parse_config(architecture, {}).model_dump()
    out = bench.scores_file(key, architecture, way, seed)
    command = [str(bench.fuxictr), str(Path(__file__).with_name("training_fuxictr.py")), str(job), str(bench.zoo),
               architecture, str(seed), str(out), json.dumps({"published": "criteo_x1" if key == "indexed" else
                                                              "movielenslatest_x1", **config,
                                                              "small": way == "fuxictr-small"})]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})


def keep(file: Path, scores: np.ndarray, **notes: float) -> None:
    """Written whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    incoming = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(incoming, scores=np.asarray(scores, np.float32), **notes)
    incoming.rename(file)


@dataclass(frozen=True)
class Averaged:
    """Probabilities of the test rows, averaged over the seeds that are there, and what each seed reached."""

    scores: np.ndarray  # (N,)
    aucs: tuple[float, ...]
    seconds: tuple[float, ...]


def seeds_of(bench: Bench, key: str, architecture: str, way: str) -> int:
    """How many seeds are there, from the first on."""
    there = (bench.scores_file(key, architecture, way, seed).exists() for seed in range(bench.seeds))
    return sum(takewhile(bool, there))


def averaged(bench: Bench, dataset: Dataset, key: str, architecture: str, way: str, n_seeds: int) -> Averaged:
    label, all_scores, seconds = dataset.splits["test"].label, [], []
    for seed in range(n_seeds):
        with np.load(bench.scores_file(key, architecture, way, seed)) as kept:
            scores = kept["scores"].astype(np.float64)
            all_scores.append(scores if way.startswith("fuxictr") else 1 / (1 + np.exp(-scores)))
            seconds.append(float(kept["seconds"]))
    return Averaged(np.mean(all_scores, 0), tuple(auc(one, label) for one in all_scores), tuple(seconds))


def spread(one: Averaged) -> str:
    """ "0.8035 ± 0.0004 (5)"."""
    deviation = f" ± {np.std(one.aucs, ddof=1):.4f}" if len(one.aucs) > 1 else ""
    return f"{np.mean(one.aucs):.4f}{deviation} ({len(one.aucs)})"


def write_table(bench: Bench, datasets: dict[str, Dataset], command: str) -> None:
    rows, paired, worst = [], [], {}
    for (key, dataset), architecture in product(datasets.items(), ARCHITECTURES):
        positive = dataset.splits["test"].label == 1
        count = {way: seeds_of(bench, key, architecture, way) for way in WAYS}
        names = [SETS[key], zoo.ARCHITECTURES[architecture].title]
        rows.append(names + [spread(averaged(bench, dataset, key, architecture, way, count[way])) if count[way] else
                             None for way in WAYS])
        cells = []
        for first, second in PAIRS:
            n_seeds = min(count[first], count[second])  # more seeds make a better average
            if not n_seeds:
                cells.append(None)
                continue
            mine, other = (auc_components(averaged(bench, dataset, key, architecture, way, n_seeds).scores, positive)
                           for way in (first, second))
            difference = mine.minus(other)
            low, high = difference.interval or (0.0, 0.0)  # equal scores have none
            cells.append(f"{difference.auc:+.4f} [{low:+.4f}, {high:+.4f}]" if difference.interval else "the same")
            worst.setdefault((first, second), []).append((difference.auc, low, high))
        paired.append(names + cells)
    told = [f"- {TITLES[first]} less {TITLES[second]}: mean {np.mean([d for d, _, _ in found]):+.4f} over "
            f"{len(found)}; intervals wholly below −0.001: {sum(high < -0.001 for _, _, high in found)}; "
            f"wholly above 0: {sum(low > 0 for _, low, _ in found)}."
            for (first, second), found in worst.items()]
    choices = []
    for file in sorted((bench.folder / "tuned").glob("*.json")):
        key, architecture = file.stem.split(".")
        kept = json.loads(file.read_text())
        told_of = ", ".join(f"{name} {value:g}" for name, value in (kept["training"] | kept["config"]).items())
        choices.append([SETS[key], zoo.ARCHITECTURES[architecture].title, len(kept["trials"]),
                        told_of or "nothing changed", f"{kept['seconds']:.0f}"])
    body = "\n\n".join([
        "Test AUC of each training: mean and standard deviation over seeds, and how many there are.",
        report.table(["data", "model", *(TITLES[way] for way in WAYS)], rows),
        ABOUT,
        "Difference in AUC of scores averaged over the seeds, on the same test rows, with DeLong's 95 % interval.",
        report.table(["data", "model", *(f"{TITLES[first]} − {TITLES[second]}" for first, second in PAIRS)], paired),
        "\n".join(told),
        "What `tune` chose with the first seed, for all seeds, and the processor seconds of its short trainings.",
        report.table(["data", "model", "trainings", "chosen", "seconds"], choices),
    ])
    report.write("training", "Training, beside FuxiCTR and the first release", body, command=command)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--adult", type=Path)
    parser.add_argument("--indexed", type=Path)
    parser.add_argument("--fuxictr", type=Path)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.folder, options.adult, options.indexed, options.fuxictr, options.zoo, options.seeds)
    datasets = bench.datasets()
    for seed in range(options.seeds if options.ways else 0):
        for key, dataset in datasets.items():
            for architecture in ARCHITECTURES:
                for way in options.ways:
                    file = bench.scores_file(key, architecture, way, seed)
                    if not file.exists():
                        step = train_there if way.startswith("fuxictr") else train_here
                        step(bench, dataset, key, architecture, way, seed)
                        with np.load(file) as kept:
                            print(f"{file.stem}: AUC {auc(kept['scores'], dataset.splits['test'].label):.4f}, "
                                  f"best epoch {kept['best']} of {kept['epochs']}, {kept['seconds']:.0f} s", flush=True)
    write_table(bench, datasets, "python -m benchmarks.training")


if __name__ == "__main__":
    main()
