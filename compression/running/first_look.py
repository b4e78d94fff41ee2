"""How good an imported model is on its data, beside a constant and a logistic regression: is it bound rightly?

A model that does no better than a constant was most likely given the wrong columns, or ids that number its tables
otherwise. Said at once, in words, before anybody compresses it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from compression.data.columns import texts
from compression.data.dataset import Dataset, Rows
from compression.data.encode import load_dataset
from compression.data.ingest import read_splits
from compression.data.made import without_made
from compression.data.vocabulary import Vocabulary
from compression.measure.quality import QUALITY, measure_quality
from compression.measure.ratings import as_chances
from compression.models import zoo
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.running.machine import compute_device
from compression.running.run import SCORED_SPLIT, export_baseline
from compression.spec.data_description import Column, DataDescription, Role
from compression.spec.errors import DataError, MeasureError
from compression.spec.metrics import METRICS
from compression.spec.records import Measurement, Progress, Record, Report, Target
from compression.spec.runtime import RUNTIMES
from compression.spec.signature import Signature
from compression.spec.task import TASKS, Task
from compression.tasks.units import metric_title, title_within
from compression.train.loop import train
from compression.train.params import TrainParams

MODEL, CONSTANT, REGRESSION = "This model", "Constant", "Logistic regression"
MOST_ROWS = 1_000_000  # of the test split that are scored
TRAIN_ROWS, EPOCHS = 200_000, 5  # of the logistic regression
TELLING_UNKNOWN = 0.05  # share of values that a vocabulary doesn't hold, from which it is worth a sentence


class Line(Record):
    """One way to predict, and its quality on the same test rows."""

    name: str
    measurements: tuple[Measurement, ...]

    def find(self, metric: str) -> Measurement | None:
        return next((one for one in self.measurements if one.metric == metric), None)


class FirstLook(Record):
    """What was measured and what it suggests. `problem`: why nothing could be measured; the binding is to correct."""

    rows: int = 0
    lines: tuple[Line, ...] = ()
    hints: tuple[str, ...] = ()
    problem: str = ""


def first_look(model_folder: Path, data_folder: Path, *, scratch: Path, report: Report, seed: int = 0) -> FirstLook:
    """Score the test rows with an imported model, a constant and a quickly trained logistic regression.

    Never raises for what the binding can mend: data that doesn't fit the model becomes `problem`.
    """
    report(Progress(stage="measure quality"))
    loaded = load_model(model_folder)
    try:
        dataset = load_dataset(data_folder, signature=loaded.signature, vocabularies=loaded.vocabularies)
        rows = _scored(dataset)
        scores = as_chances(score(loaded, rows, scratch), loaded.signature, dataset.description)
        own = _measured(MODEL, scores, rows, dataset)
    except (DataError, MeasureError) as error:
        return FirstLook(problem=str(error))

    def as_read() -> Dataset:
        return load_dataset(data_folder, description=described_as_read(loaded.signature, dataset.description))

    lines = [own, *_beside(dataset, as_read, scratch=scratch, report=report, seed=seed)]
    hints = [*doubts(lines, TASKS[dataset.description.task]),
             *_unknown_words(loaded, data_folder, dataset.description)]
    return FirstLook(rows=len(rows), lines=tuple(lines), hints=tuple(hints))


def look_at_trained(exported: Path, dataset: Dataset, *, scratch: Path, report: Report, seed: int = 0) -> FirstLook:
    """The same of the exported file of a model that was trained here, whose columns nobody has to doubt."""
    report(Progress(stage="measure quality"))
    rows = _scored(dataset)
    try:
        own = _measured(MODEL, score_file(exported, rows), rows, dataset)
    except MeasureError as error:
        return FirstLook(problem=str(error))
    lines = [own, *_beside(dataset, lambda: dataset, scratch=scratch, report=report, seed=seed)]
    return FirstLook(rows=len(rows), lines=tuple(lines),
                     hints=tuple(too_little_learned(lines, TASKS[dataset.description.task])))


def look_sentence(look: FirstLook, task: Task) -> str:
    """ "Test AUC 0.8038 (constant 0.5000, logistic regression 0.7712)." Of a problem, the problem."""
    metric = task.primary_metric
    values = {line.name: found.value for line in look.lines if (found := line.find(metric))}
    if MODEL not in values:
        return look.problem
    others = ", ".join(f"{name.lower()} {values[name]:.4f}" for name in (CONSTANT, REGRESSION) if name in values)
    return f"Test {metric_title(metric)} {values[MODEL]:.4f}" + (f" ({others})." if others else ".")


def _scored(dataset: Dataset) -> Rows:
    return dataset.splits[SCORED_SPLIT].take(slice(0, MOST_ROWS))


def _beside(dataset: Dataset, as_read: Callable[[], Dataset], *, scratch: Path, report: Report,
            seed: int) -> list[Line]:
    """A constant and, where there are rows to train on, a logistic regression over the columns of `as_read()`."""
    rows, train_rows = _scored(dataset), dataset.splits["train"]
    known = train_rows if len(train_rows) else rows
    mean = float(np.average(known.label, weights=known.weight))
    lines = [_measured(CONSTANT, np.full(len(rows), mean), rows, dataset)]
    if len(train_rows):
        report(Progress(stage="train", message="a logistic regression to compare with"))
        lines.append(_measured(REGRESSION, regression_scores(as_read(), len(rows), scratch, seed), rows, dataset))
    return lines


def score(loaded: LoadedModel, rows: Rows, scratch: Path) -> np.ndarray:
    """Probabilities (N,) of the model's exported file."""
    return score_file(export_baseline(loaded, scratch / "model").path, rows)


def score_file(path: Path, rows: Rows) -> np.ndarray:
    """Probabilities (N,) of an exported file, as a run on the CPU would measure it: no target was chosen yet."""
    target = Target()
    with closing(RUNTIMES[target.runtime].open(path, **target.session)) as session:
        return session.score(rows.inputs)


def regression_scores(dataset: Dataset, n_rows: int, scratch: Path, seed: int) -> np.ndarray:
    """Probabilities (N,) of a logistic regression over the dataset's columns."""
    few = np.sort(np.random.default_rng(seed).permutation(len(dataset.splits["train"]))[:TRAIN_ROWS])
    splits = dataset.splits | {"train": dataset.splits["train"].take(few)}
    dataset = Dataset(dataset.description, dataset.signature, dataset.vocabularies, splits)
    model = zoo.build("lr", dataset.signature, {}, seed=seed)
    train(model, dataset, TrainParams(epochs=EPOCHS), device=compute_device(), seed=seed, task=dataset.description.task)
    loaded = LoadedModel(model.cpu().eval(), dataset.signature, dataset.vocabularies, "lr", model.config)
    return score(loaded, dataset.splits[SCORED_SPLIT].take(slice(0, n_rows)), scratch / "lr")


def described_as_read(signature: Signature, description: DataDescription) -> DataDescription:
    """The description with the model's columns alone as inputs, of the kind that the model reads them as."""
    kinds = {one.column: one.kind for one in signature.singles}
    roles = {"number": Role.NUMBER, "category": Role.CATEGORY, "multi": Role.MULTI}

    def read(column: Column) -> Column:
        if column.role in (Role.LABEL, Role.TIME, Role.WEIGHT) or column.name == description.label.column:
            return column
        kind = kinds.get(column.name)
        if kind == "category" and column.role in (Role.USER, Role.ITEM, Role.CATEGORY):
            return column
        return column.model_copy(update={"role": roles[kind] if kind else Role.IGNORE})

    if description.history and description.history.column not in kinds:
        description = without_made(description.model_copy(update={"negatives": None})).model_copy(
            update={"history": None, "negatives": description.negatives})
    columns = tuple(read(column) for column in description.columns)
    kept = description.model_copy(update={"columns": columns})
    needed = (Role.USER, Role.ITEM) if description.made_columns else (Role.USER,)  # by the split, or to make rows
    for role in needed:
        if description.by_role(role) and not kept.by_role(role):
            columns = tuple(column if column.role is role else now
                            for column, now in zip(description.columns, columns, strict=True))
    return kept.model_copy(update={"columns": columns})


def doubts(lines: list[Line], task: Task) -> list[str]:
    """What the task's first metric of the lines says about the binding; empty where the model does well."""
    metric = task.primary_metric
    own, title, blind = lines[0].find(metric), metric_title(metric), METRICS[metric].blind
    if own is None or blind is None:
        return []
    has_interval = own.ci_low is not None and own.ci_high is not None
    columns = ("which column goes to which input, whether ids number the tables as in training, and from which value "
               "on a label is positive")
    if has_interval and own.ci_high < blind:
        return [f"The scores are upside down ({title} {own.value:.4f}): rows that should score high score low. The "
                f"binding is probably wrong: check {columns}."]
    if own.value == blind or (has_interval and own.ci_low <= blind):  # scores that are all equal have no interval
        interval = f", interval from {own.ci_low:.4f}" if has_interval else ""
        return [f"No better than a constant ({title} {own.value:.4f}{interval}). The binding is probably wrong: check "
                f"{columns}."]
    if not has_interval:
        return []
    regression = next((line.find(metric) for line in lines if line.name == REGRESSION), None)
    told = []
    if regression and regression.ci_low is not None and regression.ci_low > own.ci_high:
        told.append(f"A logistic regression on the same columns does better ({title} {regression.value:.4f} against "
                    f"{own.value:.4f}). One of the columns may be bound wrongly: check {columns}.")
    of_chances = next((key for key in task.metrics if not QUALITY[key].order_only), None)
    loss = lines[0].find(of_chances) if of_chances else None
    constant = next((line.find(of_chances) for line in lines if line.name == CONSTANT), None)
    if loss and constant and METRICS[of_chances].better(constant.value, loss.value):
        side = "below" if METRICS[of_chances].higher_is_better else "above"
        told.append(f"The order of the rows is right, but the probabilities are not ({title_within(of_chances)} {side} "
                    "a constant's): the model was trained on another label or another share of positives. "
                    f"{title} and ranks are sound.")
    return told


def too_little_learned(lines: list[Line], task: Task) -> list[str]:
    """What the task's first metric says of a model that was trained here; empty where it learned enough."""
    metric = task.primary_metric
    own, title, blind = lines[0].find(metric), metric_title(metric), METRICS[metric].blind
    if own is None or blind is None or own.ci_low is None or own.ci_high is None:
        return []
    if own.ci_low <= blind:
        return [f"No better than a constant ({title} {own.value:.4f}, interval from {own.ci_low:.4f}): the columns say "
                "little about the label, or the training has too few rows or other settings are needed."]
    regression = next((line.find(metric) for line in lines if line.name == REGRESSION), None)
    if regression and regression.ci_low is not None and regression.ci_low > own.ci_high:
        return [f"A logistic regression on the same columns does better ({title} {regression.value:.4f} against "
                f"{own.value:.4f}). Let a tuning choose the settings, or train a logistic regression."]
    return []


def _unknown_words(loaded: LoadedModel, data_folder: Path, description: DataDescription) -> list[str]:
    """Columns of which many test values are not in the model's vocabulary."""
    looked_up = {one.column: one for one in loaded.signature.singles if one.kind == "category"
                 and one.ids == "vocabulary" and one.column in loaded.vocabularies}
    if not looked_up:
        return []
    test, told = read_splits(data_folder, description)[SCORED_SPLIT], []
    for column, one in looked_up.items():
        rows = Vocabulary(column, loaded.vocabularies[column]).rows(texts(test[column], what=f"Column '{column}'"))
        share = float((rows == 0).mean())
        if share > TELLING_UNKNOWN:
            where = "row 0, the model's row for unknown" if one.first_id else \
                f"row 0, which belongs to '{loaded.vocabularies[column][0]}'"
            told.append(f"{share:.0%} of the test values of '{column}' are not in the model's vocabulary and read "
                        f"{where}. Is this the data the model was trained on?")
    return told


def _measured(name: str, scores: np.ndarray, rows: Rows, dataset: Dataset) -> Line:
    return Line(name=name, measurements=tuple(measure_quality(
        scores, None, rows, task=dataset.description.task, split=SCORED_SPLIT)))
