"""The README of a bundle: a model card written from what was measured, and from nothing else.

Source of the sections: Mitchell et al. 2019, arXiv:1810.03993 (model cards).
"""

from __future__ import annotations

import re

from compression.data.schema import DataDescription
from compression.metrics import METRICS
from compression.models.signature import Signature
from compression.records import Measurement, Result
from compression.tasks import TASKS
from compression.values import values_of
from compression.verdict import sentence

Key = tuple[str, int | None]  # metric, batch size


def model_card(result: Result, *, signature: Signature, description: DataDescription, architecture: str,
               recipe: str) -> str:
    """Markdown: verdict, numbers beside the baseline, use, data, recipe, limits, how to run."""
    task, sizes = TASKS[signature.task], result.spec.target.batch_sizes
    steps = " → ".join(step.method for step in result.spec.recipe.steps) or "none: this is the baseline"
    return "\n\n".join([
        f"# {_line(result.spec.recipe.name)}: {_line(architecture)}, compressed by RecPress",
        f"**{sentence(_line(result.spec.recipe.name), values_of(result), task=task.key, batch_sizes=sizes)}**",
        f"## Numbers\n\nMeasured on the test split, from `model.onnx` itself. {_machine(result)}\n\n{_table(result)}",
        f"## Intended use\n\n{task.title}: scores rows that look like the data it was made from. "
        f"It reads {_columns(signature)}. Each score is a {signature.output_form}.",
        f"## Data\n\n{_data(description)}",
        f"## Recipe\n\nSteps: {steps}.\n\n```yaml\n{recipe.strip()}\n```",
        f"## Limits\n\n{_limits(result, signature)}",
        "## Run it\n\n```\npip install numpy onnxruntime\npython predict.py rows.csv > scores.txt\n```\n\n"
        "`rows.csv` holds raw rows with the columns named in `signature.json`. "
        "`sha256sum -c SHA256SUMS` checks the files.",
    ]) + "\n"


def _by_key(items: tuple[Measurement, ...]) -> dict[Key, Measurement]:
    """The measurements over everything; slices stay in measurements.json."""
    return {(item.metric, item.batch_size): item for item in items if item.slice is None}


def _table(result: Result) -> str:
    now, before = _by_key(result.measurements), _by_key(result.baseline)
    order = {metric: place for place, metric in enumerate(METRICS)}
    lines = ["| Metric | This model | Baseline | Difference | 95 % interval |", "|---|---|---|---|---|"]
    for key in sorted(now, key=lambda key: (order.get(key[0], len(order)), key[1] or 0)):
        item, spec = now[key], METRICS[key[0]]
        at = f" at batch size {key[1]}" if key[1] else ""
        unit = f" ({spec.unit})" if spec.unit else ""
        cells = [f"{spec.title}{at}{unit}", _number(item.value, spec.kind),
                 _number(before[key].value, spec.kind) if key in before else "",
                 "" if item.difference is None else f"{item.difference:+.5f}", _interval(item)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(item: Measurement) -> str:
    """Of the difference where there is one, else of the value."""
    if item.difference_low is not None and item.difference_high is not None:
        return f"{item.difference_low:+.5f} to {item.difference_high:+.5f}"
    if item.ci_low is not None and item.ci_high is not None:
        return f"{item.ci_low:.5g} to {item.ci_high:.5g}"
    return ""


def _number(value: float, kind: str) -> str:
    return f"{value:,.0f}" if kind in ("bytes", "count", "rate") else f"{value:.5g}"


def _machine(result: Result) -> str:
    known = {key: result.environment[key] for key in ("processor", "gpu", "onnxruntime", "device")
             if key in result.environment}
    return ("On " + ", ".join(f"{key} {value}" for key, value in known.items()) + ".") if known else ""


def _data(description: DataDescription) -> str:
    terms = f" Terms: {_line(description.terms)}." if description.terms else ""
    columns = ", ".join(f"`{_line(column.name)}` ({column.role})" for column in description.columns)
    return f"{_line(description.name)}.{terms} Columns: {columns}."


def _columns(signature: Signature) -> str:
    """The columns that the file asks for: fewer than the data has where inputs were dropped."""
    names = list(dict.fromkeys(single.column for single in signature.singles))
    return ", ".join(f"`{_line(name)}`" for name in names)


def _limits(result: Result, signature: Signature) -> str:
    methods = {step.method for step in result.spec.recipe.steps}
    said = ["Values that the vocabularies don't hold share row 0 and are scored like a missing value.",
            "The numbers hold for the test rows and the machine above, for no other."]
    if "quantize.dynamic" in methods:
        said.append("Input ranges are measured on each batch, so a row's score depends slightly on the rows beside it.")
    if methods & {"quantize.dynamic", "quantize.static"}:
        said.append("int8 dense layers were checked on this processor. Where fast 8-bit products overflow, on CPUs "
                    "without VNNI, predict.py takes exact ones; other programs have to set session.x64quantprecision.")
    if signature.output_form == "logit":
        said.append("Scores are logits, not probabilities.")
    return "\n".join(f"- {sentence}" for sentence in said)


def _line(text: str) -> str:
    """Text from a file or a form as one line without markup of its own."""
    return re.sub(r"[|`*_<>\[\]#]", " ", " ".join(text.split())).strip()
