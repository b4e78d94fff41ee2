"""The methods as people look for them: by family, by what they promise, by what a model has for them to work on.

All of it is read from what is registered, so that a new method or runtime is listed everywhere by its file.
Loads without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import compression
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Gain, Method, Need, bounds_text
from compression.spec.metrics import METRICS
from compression.spec.records import ModelDescription
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES
from compression.spec.task import DEFAULT_TASK, TASKS, Task

# in the order in which they are listed; a family that isn't named here comes last under its own key
FAMILIES = {
    "embed": "Embedding tables",
    "quantize": "Quantisation",
    "prune": "Pruning",
    "factorize": "Low rank",
    "share": "Shared weights",
    "distill": "Distillation",
    "reparam": "Re-parameterisation",
    "compute": "Compute",
    "train": "Training",
}
CARDS = Path(compression.__file__).parents[1] / "docs" / "methods"
LISTED_BY = "python -m compression methods --markdown > docs/methods/README.md"
RUNTIMES_LISTED_BY = "python -m compression runtimes --markdown > docs/runtimes.md"
TASKS_LISTED_BY = "python -m compression tasks --markdown > docs/tasks.md"


def family_title(family: str) -> str:
    """What a family is called: "Embedding tables"; of an unknown one, its key."""
    return FAMILIES.get(family, family.replace("_", " ").capitalize())


def by_family(methods: Iterable[Method] | None = None) -> dict[str, list[Method]]:
    """The methods of each family by title, families in the order of FAMILIES."""
    found: dict[str, list[Method]] = {family: [] for family in FAMILIES}
    for method in sorted(METHODS.values() if methods is None else methods, key=lambda one: one.title.lower()):
        found.setdefault(method.family, []).append(method)
    return {family: members for family, members in found.items() if members}


def search(text: str, methods: Iterable[Method] | None = None) -> list[Method]:
    """Methods whose names or words contain every word of the text, whatever the case; all of them for none."""
    words = text.lower().split()
    return [one for one in (METHODS.values() if methods is None else methods)
            if all(word in searchable(one) for word in words)]


def searchable(method: Method) -> str:
    """Everything a person might look a method up by, in lower case."""
    gains = " ".join(sorted(method.gains))
    parameters = " ".join(method.params.model_fields).replace("_", " ")
    return " ".join((method.key, method.title, method.summary, family_title(method.family), gains, method.stage.value,
                     parameters, method.source)).lower()


def badges(method: Method) -> list[str]:
    """What a method promises and what it asks for, in two or three words each, promises first."""
    told = [gain.value for gain in Gain if gain in method.gains]
    if Need.FINE_TUNE in method.needs:
        told.append("needs fine-tuning")
    elif Need.CALIBRATION in method.needs:
        told.append("needs calibration rows")
    elif Need.LABELS in method.needs and not method.trains:
        told.append("needs labels")
    return told


def effect(method: Method, description: ModelDescription) -> tuple[int, int] | None:
    """Bytes of a model before and after the method at its defaults, by shapes; None where these can't tell."""
    try:
        after = description.model_copy(update={"layers": method.estimated(description.layers, method.parse({}))})
    except RecipeError:
        return None
    return description.size_bytes, after.size_bytes


def card_path(key: str) -> Path:
    """Where the card of a method lies."""
    return CARDS / f"{key}.md"


def markdown_list() -> str:
    """The catalogue as markdown: a table for each family, each method with its sentence, promise and card."""
    lines = ["# Methods", "", f"{len(METHODS)} methods. This list is written by `{LISTED_BY}`."]
    for family, members in by_family().items():
        lines += ["", f"## {family_title(family)}", "", "| method | what it does | promises and needs | source |",
                  "|---|---|---|---|"]
        lines += [f"| [`{one.key}`]({one.key}.md) {one.title} | {one.summary} | {', '.join(badges(one)) or '–'} "
                  f"| {one.source} |" for one in members]
    return "\n".join(lines) + "\n"


def parameter_rows(method: Method) -> list[dict[str, str]]:
    """A row for each parameter: its name, default, bounds and meaning."""
    return [{"Parameter": name.replace("_", " "), "Default": str(field.get_default()),
             "Allowed": bounds_text(method.params, name), "Meaning": field.description or ""}
            for name, field in method.params.model_fields.items()]


def runtimes_markdown() -> str:
    """The runtimes as markdown: what each is called, what it runs on, what has to be installed."""
    return f"""\
# Runtimes

What can open an exported file and answer requests with it. A run is checked and measured by the runtime of its
target: `--runtime` on the command line, Target on Experiment; `{DEFAULT_RUNTIME}` where none is named. This list is
written by `{RUNTIMES_LISTED_BY}`.

| runtime | name | devices | package |
|---|---|---|---|
{_rows([f"`{one.key}`", one.title, ", ".join(one.devices), " or ".join(one.packages)] for one in RUNTIMES.values())}

A runtime is one file in `compression/runtimes/`, or a package with an entry point in `recpress.runtimes`. It keeps the
contract in `compression/testing/runtime.py`.
"""


def tasks_markdown() -> str:
    """The tasks as markdown: metrics, loss, label and the rest that each decides."""
    return f"""\
# Tasks

What a model is for. The description of a dataset names its task (`task:` in data.yaml), `{DEFAULT_TASK}` where it names
none. This list is written by `{TASKS_LISTED_BY}`.

| task | name | metrics | tolerance | loss | best epoch by | positive from | measured by | scores | split |
|---|---|---|---|---|---|---|---|---|---|
{_rows(_task_cells(one) for one in TASKS.values())}

A task is one file in `compression/tasks/`, or a package with an entry point in `recpress.tasks`. It keeps the contract
in `compression/testing/task.py`.
"""


def _task_cells(task: Task) -> list[str]:
    metrics, stopping = (", ".join(METRICS[key].title for key in keys) for keys in (task.metrics, task.stopping))
    return [f"`{task.key}`", task.title, metrics, f"{task.tolerance:g}", f"`{task.loss}`", stopping,
            f"{task.positive_from:g}", task.unit, task.output_form, task.split]


def _rows(rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
