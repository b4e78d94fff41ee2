"""Choose rate, decay and dropout by a few short trainings that are compared on validation rows.

    tuned = tune(spec, dataset, folder=folder, report=print)
    spec.training | tuned.training, spec.config | tuned.config

One setting after the other moves from where it started, up and then, if that is no better, down; what is left of the
budget goes further where a move was better. A move counts as better when its paired difference on the validation rows
is larger than its standard error, so that a few rows of luck don't choose. The test rows are never looked at.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compression.data.batches import score_rows, to_device
from compression.data.dataset import Dataset, Rows
from compression.measure.quality import estimate
from compression.models import zoo
from compression.running.machine import compute_device
from compression.spec.code_version import code_version
from compression.spec.method import Params
from compression.spec.metrics import METRICS
from compression.spec.records import Progress, Report
from compression.train.identity import fingerprint
from compression.train.loop import train
from compression.train.starting import ReferenceParams

MOST_ROWS_SEEN = 3_000_000  # of a short training, over all its epochs; a training that sees fewer is run as it is
TO_STANDARD_ERROR = 1.96  # half a 95 % interval has so many of them

Values = dict[str, float]  # setting → value


@dataclass(frozen=True)
class Axis:
    """Settings that move together: times `factor`, or plus `step`."""

    title: str
    settings: tuple[str, ...]
    factor: float = 1.0
    step: float = 0.0

    def moved(self, values: Values, up: bool, bounds: dict[str, tuple[float, float]]) -> Values | None:
        """The settings a step further, within their bounds; None where that changes nothing or one isn't there."""
        after = dict(values)
        for name in self.settings:
            if name not in values:
                return None
            far = values[name] * self.factor if up else values[name] / self.factor
            far += self.step if up else -self.step
            low, high = bounds[name]
            after[name] = float(f"{min(high, max(low, far)):.2g}")
        return after if after != values else None


AXES = (Axis("rate", ("learning_rate", "embedding_learning_rate"), factor=3.0),
        Axis("L2 of the tables", ("embedding_l2",), factor=5.0),
        Axis("dropout", ("dropout",), step=0.2))


@dataclass(frozen=True)
class Trial:
    """A short training: what it set, its validation score, its lead over the best before it, whether it was taken."""

    settings: Values
    metric: str
    value: float
    lead: float | None = None  # in the metric's own unit, positive where better; None for the first
    standard_error: float | None = None
    taken: bool = True

    def as_notes(self) -> dict[str, Any]:
        """A line of a table; what wasn't measured is absent."""
        plain = asdict(self)
        settings, metric, value = plain.pop("settings"), plain.pop("metric"), plain.pop("value")
        return settings | {f"valid_{metric}": value} | {name: one for name, one in plain.items() if one is not None}


@dataclass(frozen=True)
class Tuned:
    """What was chosen beyond the start, by where it belongs, and every trial in its order."""

    training: Values
    config: Values
    trials: tuple[Trial, ...]

    @property
    def sentence(self) -> str:
        """ "8 short trainings chose learning_rate 0.003." """
        chosen = _words(self.training | self.config)
        return f"{len(self.trials)} short trainings " + (f"chose {chosen}." if chosen else
                                                         "found nothing better than the settings they started from.")


def tune(architecture: str, config: dict[str, Any], params: ReferenceParams, dataset: Dataset, *, n_trials: int,
         folder: Path, report: Report, seed: int = 0) -> Tuned:
    """Try at most `n_trials` short trainings from the given settings on.

    A trial that was finished in `folder` before a kill is not run again; one that was interrupted goes on.
    Raises what a training raises.
    """
    short = Short(architecture, config, params, dataset, folder, seed)
    bounds = bounds_of(ReferenceParams) | bounds_of(zoo.ARCHITECTURES[architecture].params)
    search = Search(short.start, n_trials, report)
    for values in moves(short.start, bounds, n_trials, lambda: search.best.settings):
        search.add(*short.run(len(search.trials), values, search.watching(values)), dataset.splits["valid"])
    return search.tuned()


class Search:
    """The trials so far and the best of them."""

    def __init__(self, start: Values, n_trials: int, report: Report) -> None:
        self.start, self.n_trials, self.report = start, n_trials, report
        self.trials: list[Trial] = []
        self.best: Trial | None = None
        self.best_scores: np.ndarray | None = None

    def add(self, trial: Trial, scores: np.ndarray, rows: Rows) -> None:
        """Compare it with the best on the validation rows, and take it where it is better."""
        if self.best is not None:
            trial = _compared(trial, scores, self.best_scores, rows)
        if trial.taken:
            self.best, self.best_scores = trial, scores
        self.trials.append(trial)

    def watching(self, values: Values) -> Report:
        """Where a short training tells its epochs, as a part of the whole search."""
        number = len(self.trials)
        told = _words(self._beyond_start(values)) or "the settings to start from"
        leader = "" if self.best is None else (f"; best so far: validation {METRICS[self.best.metric].title} "
                                               f"{self.best.value:.4f}")

        def tell(progress: Progress) -> None:
            done = min(1.0, progress.done / (progress.total or 1.0))
            self.report(Progress(stage="tune", done=number + done, total=self.n_trials, unit="trainings",
                                 message=f"short training {number + 1} of {self.n_trials}: {told}{leader}"))

        return tell

    def tuned(self) -> Tuned:
        """What the best differs in from the start."""
        chosen = self._beyond_start(self.best.settings)
        training = {name: value for name, value in chosen.items() if name in ReferenceParams.model_fields}
        config = {name: value for name, value in chosen.items() if name not in training}
        return Tuned(training, config, tuple(self.trials))

    def _beyond_start(self, values: Values) -> Values:
        return {name: value for name, value in values.items() if value != self.start[name]}


def moves(start: Values, bounds: dict[str, tuple[float, float]], n_trials: int,
          best: Callable[[], Values]) -> Iterator[Values]:
    """Settings to try, the start first; `best()` says after each what is the best now."""
    yield start
    left, won = n_trials - 1, []
    for axis in AXES:
        for up in (True, False):
            before = best()
            values = axis.moved(before, up, bounds)
            if not left or values is None:
                continue
            yield values
            left -= 1
            if best() == values:
                won.append((axis, up))
                break
    while left and won:
        axis, up = won.pop(0)
        values = axis.moved(best(), up, bounds)
        if values is None:
            continue
        yield values
        left -= 1
        if best() == values:
            won.append((axis, up))


class Short:
    """Trainings as long as the whole one, on fewer rows where there are many, all from the same seed.

    Fewer epochs would not do: they ask for less decay than the training that follows. A penalty weighs as much as a
    number of rows, so over fewer rows it is larger by as much.
    """

    def __init__(self, architecture: str, config: dict[str, Any], params: ReferenceParams, dataset: Dataset,
                 folder: Path, seed: int) -> None:
        self.architecture, self.folder, self.seed = architecture, folder, seed
        n_rows = len(dataset.splits["train"])
        few = min(n_rows, max(1, MOST_ROWS_SEEN // params.epochs))
        self.params, self.penalty = params, n_rows / few
        self.config = zoo.parse_config(architecture, config).model_dump()
        if few < n_rows:
            index = np.sort(np.random.default_rng(seed).permutation(n_rows)[:few])
            dataset = replace(dataset, splits=dataset.splits | {"train": dataset.splits["train"].take(index)})
        self.dataset = dataset
        self.origin = fingerprint(code_version(), architecture, seed, dataset.splits)
        known = self.params.model_dump() | self.config
        self.start: Values = {name: known[name] for axis in AXES for name in axis.settings if name in known}

    def run(self, number: int, values: Values, report: Report) -> tuple[Trial, np.ndarray]:
        """The trial, and the logits (N,) of the validation rows."""
        in_training = {name: value for name, value in values.items() if name in ReferenceParams.model_fields}
        penalty = min(1.0, in_training["embedding_l2"] * self.penalty)
        params = self.params.model_copy(update=in_training | {"embedding_l2": penalty})
        config = self.config | {name: value for name, value in values.items() if name not in in_training}
        identity = fingerprint(self.origin, params, config)
        path = self.folder / f"tune-{number}.npz"
        if (kept := _read(path, identity)) is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = self._train(params, config, path.with_suffix(".ckpt"), report)
            _write(path, identity, *kept)
        metric, value, scores = kept
        return Trial(values, metric, value), scores

    def _train(self, params: ReferenceParams, config: dict[str, Any], checkpoint: Path,
               report: Report) -> tuple[str, float, np.ndarray]:
        """(metric, its validation value, logits of the validation rows)."""
        model = zoo.build(self.architecture, self.dataset.signature, config, seed=self.seed,
                          embedding_std=params.embedding_std)
        outcome = train(model, self.dataset, params, device=compute_device(), seed=self.seed, report=report,
                        checkpoint=checkpoint, task=self.dataset.description.task, stage="tune")
        scores = score_rows(model, to_device(self.dataset.splits["valid"]))
        checkpoint.unlink(missing_ok=True)  # the scores are all that is asked of it
        metric = outcome.best.metric
        return metric, outcome.best.valid[metric], scores


def bounds_of(params: type[Params]) -> dict[str, tuple[float, float]]:
    """Least and largest value of each number among the settings."""
    found = {}
    for name, field in params.model_fields.items():
        low, high = ([getattr(one, kind) for one in field.metadata if hasattr(one, kind)] for kind in ("ge", "le"))
        if low and high:
            found[name] = (low[0], high[0])
    return found


def _compared(trial: Trial, scores: np.ndarray, best: np.ndarray, rows: Rows) -> Trial:
    """The trial with its paired lead over the best before it; taken where that is more than its standard error."""
    found = estimate(trial.metric, _chances(scores), _chances(best), rows)
    lead = found.difference if METRICS[trial.metric].higher_is_better else -found.difference
    if found.difference_interval is None:  # too few rows to tell
        return replace(trial, lead=lead, taken=False)
    low, high = found.difference_interval
    error = (high - low) / 2 / TO_STANDARD_ERROR
    return replace(trial, lead=lead, standard_error=error, taken=lead > error)


def _chances(logits: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(logits).double()).numpy()


def _words(values: Values) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _read(path: Path, identity: str) -> tuple[str, float, np.ndarray] | None:
    """What was kept of a finished trial; None where there is nothing, or it was another."""
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as kept:
        if str(kept["identity"]) == identity:
            return str(kept["metric"]), float(kept["value"]), kept["scores"]
    return None


def _write(path: Path, identity: str, metric: str, value: float, scores: np.ndarray) -> None:
    """Whole or not at all."""
    incoming = path.with_suffix(".incoming.npz")
    np.savez(incoming, identity=identity, metric=metric, value=value, scores=scores)
    incoming.replace(path)
