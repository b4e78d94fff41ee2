"""Results as lines of text."""

from __future__ import annotations

from collections.abc import Iterable

from compression.spec.metrics import METRICS
from compression.spec.records import Measurement, Result, Skip


def result_text(result: Result) -> str:
    """A line for each number, beside the baseline's."""
    base = {(item.metric, item.batch_size): item.value for item in result.baseline}
    lines = [f"{result.spec.recipe.name}: {len(result.changes)} layers changed, {len(result.skipped)} left alone"]
    for item in result.measurements:
        before = base.get((item.metric, item.batch_size))
        lines.append(measurement_text(item) + (f"   baseline {before:.6g}" if before is not None else ""))
    return "\n".join([*lines, *skipped_lines(result.skipped)])


def skipped_lines(skipped: Iterable[Skip]) -> list[str]:
    """Why layers were left alone, one line for each reason of a step."""
    layers: dict[tuple[int, str, str], list[str]] = {}
    for skip in skipped:
        layers.setdefault((skip.step, skip.method, skip.reason), []).append(skip.module)
    return [f"  left alone by step {step + 1} ({method}): {', '.join(paths[:3])}"
            f"{f' and {len(paths) - 3} more' if len(paths) > 3 else ''}: {reason}"
            for (step, method, reason), paths in layers.items()]


def measurement_text(item: Measurement) -> str:
    """One number with its interval and its difference to the baseline."""
    where = f"@{item.batch_size}" if item.batch_size else ""
    interval = f" [{item.ci_low:.6g}, {item.ci_high:.6g}]" if item.ci_low is not None else ""
    difference = ""
    if item.difference is not None:
        difference = f"   Δ {item.difference:+.6g}"
    if item.difference_low is not None:
        difference += f" [{item.difference_low:+.6g}, {item.difference_high:+.6g}]"
    spec = METRICS.get(item.metric)  # a bundle of another version may hold others
    title, unit = (spec.title, spec.unit) if spec else (item.metric, "")
    return f"  {title + where:24} {item.value:.6g} {unit}{interval}{difference}"
