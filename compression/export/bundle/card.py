"""The README of a bundle: a model card written from what was measured, and from nothing else.

Source of the sections: Mitchell et al. 2019, arXiv:1810.03993 (model cards).
"""

from __future__ import annotations

import re

from compression.data.text_file import delimiter_name
from compression.spec.data_description import DataDescription
from compression.spec.effects import Effect
from compression.spec.metrics import METRICS
from compression.spec.recipe import effects_of
from compression.spec.records import Measurement, Result
from compression.spec.runtime import DEFAULT_RUNTIME, RUNTIMES
from compression.spec.signature import Signature
from compression.spec.task import TASKS
from compression.spec.values import values_of
from compression.tasks.verdict import sentence

Key = tuple[str, int | None]  # metric, batch size


def model_card(result: Result, *, signature: Signature, description: DataDescription, architecture: str,
               recipe: str) -> str:
    """Markdown: verdict, numbers beside the baseline, use, data, recipe, limits, how to run."""
    task, sizes = TASKS[signature.task], result.spec.target.batch_sizes
    steps = " → ".join(step.method for step in result.spec.recipe.steps) or "none: this is the baseline"
    return "\n\n".join([
        f"# {_line(result.spec.recipe.name)}: {_line(architecture)}, compressed by RecPress",
        f"**{sentence(_line(result.spec.recipe.name), values_of(result), task=task.key, batch_sizes=sizes)}**",
        f"## Numbers\n\nMeasured on the test split, from `model.onnx` itself. {_machine(result)}{_timing(result)}\n\n"
        f"{_table(result)}",
        f"## Intended use\n\n{task.title}: scores rows that look like the data it was made from. "
        f"It reads {_columns(signature)}. Each score is a {signature.output_form}.",
        f"## Data\n\n{_data(description)}",
        f"## Recipe\n\nSteps: {steps}.\n\n```yaml\n{recipe.strip()}\n```",
        f"## Limits\n\n{_limits(result, signature)}",
        f"## Run it\n\n```\npip install numpy {RUNTIMES[DEFAULT_RUNTIME].packages[0]}\n"
        "python predict.py rows.csv > scores.txt\n```\n\n"
        f"{_rows(description, signature)} `sha256sum -c SHA256SUMS` checks the files.",
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
    known = {key: result.environment[key] for key in ("processor", "gpu", result.spec.target.runtime, "device")
             if key in result.environment}
    return ("On " + ", ".join(f"{key} {value}" for key, value in known.items()) + ".") if known else ""


def _timing(result: Result) -> str:
    """What was called for the latencies; "" where that wasn't noted."""
    timed = [item for item in result.measurements if item.metric == "latency_ratio" and item.sessions]
    if not timed:
        return ""
    pairs = ", ".join(f"{item.n:,} at batch size {item.batch_size:,}" for item in timed)
    one = timed[0]
    return (f" Latency: pairs of requests drawn from the test rows ({pairs}), {one.threads} "
            f"thread{'s' * (one.threads != 1)}, in {one.sessions} processes of which each opens both files anew; its "
            "intervals are over the processes.")


def _data(description: DataDescription) -> str:
    terms = f" Terms: {_line(description.terms)}." if description.terms else ""
    columns = ", ".join(f"{code(column.name)} ({column.role})" for column in description.columns)
    return f"{_line(description.name)}.{terms} Columns: {columns}."


def _columns(signature: Signature) -> str:
    """The columns that the file asks for: fewer than the data has where inputs were dropped."""
    return ", ".join(map(code, dict.fromkeys(single.column for single in signature.singles)))


def _rows(description: DataDescription, signature: Signature) -> str:
    """The file that predict.py reads."""
    named = f"with a header that names {_columns(signature)}, in any order and beside any others"
    if not description.is_text_table:
        return f"`rows.csv` is a CSV {named}, or JSON lines with these keys."
    delimiter = delimiter_name(description.delimiter or ("\t" if description.format == "tsv" else ","))
    if description.header:
        return f"`rows.csv` is a table {named}, cells delimited by {delimiter}, or JSON lines with these keys."
    order = ", ".join(code(column.name) for column in description.columns)
    return (f"`rows.csv` is a table without a header, cells delimited by {delimiter}, of these columns in this order: "
            f"{order}. Or a CSV {named}; or JSON lines with these keys.")


def _limits(result: Result, signature: Signature) -> str:
    made = {effect for step in result.spec.recipe.steps for effect, parts in effects_of(step).makes.items() if parts}
    said = ["Values that the vocabularies don't hold share row 0 and are scored like a missing value.",
            "The numbers hold for the test rows and the machine above, for no other."]
    if Effect.BATCH_RANGES in made:
        said.append("Input ranges are measured on each batch, so a row's score depends slightly on the rows beside it.")
    if Effect.INT8_PRODUCTS in made:
        said.append("int8 dense layers were checked on this processor. Where fast 8-bit products overflow, on CPUs "
                    "without VNNI, predict.py takes exact ones; other programs have to set session.x64quantprecision.")
    if signature.output_form == "logit":
        said.append("Scores are logits, not probabilities.")
    return "\n".join(f"- {sentence}" for sentence in said)


def _line(text: str) -> str:
    """Text from a file or a form as one line without markup of its own."""
    return re.sub(r"[|`*_<>\[\]#]", " ", " ".join(text.split())).strip()


def code(name: str) -> str:
    """A name as Markdown shows it unchanged, whatever marks it holds."""
    name = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in name)
    fence = "`" * (max(map(len, re.findall("`+", name)), default=0) + 1)
    space = " " if "`" in name or name.strip() != name else ""
    return f"{fence}{space}{name}{space}{fence}"
