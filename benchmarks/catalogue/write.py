"""docs/results/methods.md, its plots and methods.csv, from the points there are."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.catalogue.frontier_latency import TARGET, read_latency
from benchmarks.catalogue.goals import GOALS, NOTE, SEEDS, Goal, goal_jobs
from benchmarks.catalogue.jobs import RECIPES, jobs_of
from benchmarks.catalogue.kept import Kept, Key, read_kept
from benchmarks.catalogue.points import Point
from benchmarks.catalogue.references import SOURCES, Source
from benchmarks.catalogue.summary import CONTROL_SWEEPS, Spot, by_series, frontier, spots_of, verdict
from benchmarks.catalogue.svg import scatter
from benchmarks.catalogue.sweeps import BOTH

PAGE, TABLE = "methods.md", report.RESULTS / "methods.csv"
LOWEST = {"log": -0.01}  # AUC difference at the lower edge of a plot
COMMAND = "python -m benchmarks.methods --adult DIR --criteo DIR --criteo-indexed DIR"
HEAD = """\
What each method saves and what it costs, beside what anybody could do without it. A point is an exported file: **times
smaller** is the bytes of the fp32 export over its own bytes, of the whole model with graph, scales, codebooks, maps and
indices; the **AUC difference** is paired, to that fp32 export over the same test rows. Its 95 % interval is DeLong's;
where there are several seeds (references trained from different weights) it is around the mean over them and counts
their spread too. "+ epoch" has one epoch of fine-tuning behind the method, with smaller steps than the reference was
trained with; training keeps the epoch of the best validation AUC, and the model before it counts as one, so equal
figures mean that the epoch didn't help. Every point with its interval is in [methods.csv](methods.csv); those of an
earlier run, which may be another machine's, stand until as many seeds are run anew.
Latency, of what is on a frontier only, is the median ratio to the fp32 export over pairs in random order, one thread.

The controls: *one row* for all ids of a table (the floor), *random rows* and *largest rows* kept (magnitude), *small
model* trained anew with fewer columns or units, *stock int8* (onnxruntime.quantization) of the whole or of one part,
and of weights random and magnitude pruning stored sparsely. **Beaten everywhere** means: at every setting some control
of the same part of the model, with no more training, is at least as small and, by the means, at least as good.
*Fewer channels* in a series' name: the method follows `prune.channels` at the ratios shown, as alone it has too few.
"""


def dataset_spots(key: str, points: dict[str, Point], kept: Mapping[Key, Kept]) -> list[Spot]:
    """All spots of a dataset; recipes tried for the goals are among them."""
    spots = spots_of(jobs_of(SOURCES[key]), points, kept)
    if key == "log":
        spots += [replace(spot, series=f"recipe {spot.series}", method=RECIPES, on=BOTH)
                  for _, spot in goal_spots(points, kept)]
    return spots


def write_all(points: dict[str, Point], keys: Sequence[str], folder: Path) -> Path:
    """The report with a section for each dataset that has points; `folder` holds the references."""
    kept, earlier = read_kept(TABLE), earlier_references(report.RESULTS / PAGE)
    sections = [HEAD, goals_section(points, kept)]
    rows: list[list[object]] = []
    for key in keys:
        spots = dataset_spots(key, points, kept)
        if spots:
            references = reference_text(SOURCES[key], points, folder) or earlier.get(SOURCES[key].title, "")
            sections.append(section(SOURCES[key], spots, references, folder))
            rows += csv_rows(key, spots)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dataset", "series", "setting", "tuned", "times_smaller", "auc_difference", "low", "high",
                         "seeds"])
        writer.writerows(rows)
    return report.write("methods", "Every method beside the controls", "\n\n".join(sections), command=COMMAND)


def csv_rows(key: str, spots: Sequence[Spot]) -> list[list[object]]:
    return [[key, spot.series, spot.setting, int(spot.tuned), f"{spot.ratio:.3f}", f"{spot.difference:.6f}",
             f"{spot.low:.6f}", f"{spot.high:.6f}", spot.seeds] for spot in spots]


def goal_spots(points: dict[str, Point], kept: Mapping[Key, Kept]) -> list[tuple[Goal, Spot]]:
    """The recipes of every goal, as tried so far."""
    spots = spots_of(goal_jobs(), points, kept)
    return [(goal, spot) for goal in GOALS for spot in spots if spot.setting == goal.key]


def goals_section(points: dict[str, Point], kept: Mapping[Key, Kept]) -> str:
    """Each goal with its recipes: reached by the estimate, by the whole interval, or not."""
    parts = ["## Goals on the generated log", NOTE]
    tried = goal_spots(points, kept)
    for goal in GOALS:
        spots = [spot for of, spot in tried if of is goal]
        reached = [spot for spot in spots if spot.ratio >= goal.ratio and spot.difference >= -goal.loss]
        surely = [spot for spot in reached if spot.low >= -goal.loss]
        best = max(surely or reached, key=lambda spot: spot.ratio, default=None)
        told = "not tried yet" if not spots else "**not reached**" if best is None else (
            f"**reached** by *{best.series}*: {best.ratio:.1f} times smaller at {best.difference:+.5f} "
            f"[{best.low:+.5f}, {best.high:+.5f}], {'with the whole interval' if surely else 'by the estimate alone'}")
        parts.append(f"{goal.text}: {told}.")
        parts.append(report.table(
            ["recipe", "times smaller", "AUC difference [95 %]", "by the estimate", "by the interval", "seeds"],
            [[spot.series, f"{spot.ratio:.2f}", difference(spot), _yes(spot in reached), _yes(spot in surely),
              spot.seeds] for spot in spots]))
    return "\n\n".join(parts)


def _yes(kept: bool) -> str:
    return "yes" if kept else "no"


def section(source: Source, spots: Sequence[Spot], references: str, folder: Path) -> str:
    """One dataset: reference, plot, frontier, methods, controls."""
    plot = report.RESULTS / f"methods-{source.key}.svg"
    plot.write_text(scatter(spots, source.title, lowest=LOWEST.get(source.key, -0.02)), encoding="utf-8")
    series = by_series(spots)
    lines = []
    for name, members in series.items():
        if not members[0].method:
            continue
        told = verdict_text(members, spots)
        for tuned in (False, True):
            shown = [spot for spot in members if spot.tuned is tuned]
            if shown:
                key = shown[0].method
                label = name if key == RECIPES else f"[{name}](../methods/{key}.md)" + (" + epoch" if tuned else "")
                lines.append([label, shown[0].on, compact(shown), told])
                told = ""
    controls = [[name, members[0].on, compact(members)] for name, members in series.items() if not members[0].method]
    latency = read_latency(folder)
    front = [[spot.name, spot.setting, f"{spot.ratio:.2f}", difference(spot), *ratios(latency.get(spot.digest))]
             for spot in frontier(spots)]
    return "\n\n".join([
        f"## {source.title}", references, f"![{source.title}](methods-{source.key}.svg)",
        "The frontier: nothing tried is both smaller and better.",
        report.table(["method or control", "setting", "times smaller", "AUC difference [95 %]", "latency × at B=1",
                      "latency × at B=512"], front),
        "Every method; × times smaller, AUC difference ± half of its interval.",
        report.table(["method", "part", "settings", "beside the controls"], lines),
        "The controls.", report.table(["control", "part", "settings"], controls)])


def earlier_references(page: Path) -> dict[str, str]:
    """Title → what an earlier page says of a dataset's references; it stands where this machine has none."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    found = [part.split("\n\n![", 1)[0].split("\n\n", 1) for part in text.split("\n## ")[1:] if "\n\n![" in part]
    return {parts[0]: parts[1] for parts in found}


def reference_text(source: Source, points: dict[str, Point], folder: Path) -> str | None:
    """What the differences are to: tables, bytes and AUC of the export, and how it was trained; None without any."""
    path = folder / source.key / f"seed-{source.seeds[0]}" / "trained" / "config.json"
    if not path.exists():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    rows = sorted(((item["cardinality"], item["name"]) for item in config["signature"]["inputs"]
                   if item.get("cardinality")), reverse=True)
    tables = ", ".join(f"{name} {count:,}" for count, name in rows[:3])
    told = []
    for seed in SEEDS:  # of the log, the goals have more than the sweeps
        of = [point for point in points.values() if (point.dataset, point.seed) == (source.key, seed) and point.auc]
        trained = folder / source.key / f"seed-{seed}" / "training.txt"
        if of and trained.exists():
            told.append(f"seed {seed}: test AUC {of[0].auc - of[0].difference:.5f} over {of[0].n:,} rows, "
                        f"{of[0].baseline_bytes:,} bytes, {trained.read_text(encoding='utf-8').strip()}")
    if not told:
        return None
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    about = f" {source.about}" if source.about else ""
    return (f"References ({source.architecture}; tables by rows: {tables}{more}).{about}\n\n"
            + "\n".join(f"- {line}" for line in told))


def difference(spot: Spot) -> str:
    return f"{spot.difference:+.5f} [{spot.low:+.5f}, {spot.high:+.5f}]"


def ratios(found: dict[str, list[float]] | None) -> list[str | None]:
    """Latency beside the fp32 export at each batch size; empty where it wasn't taken."""
    return [f"{found[size][0]:.2f} [{found[size][1]:.2f}, {found[size][2]:.2f}]" if found and size in found else None
            for size in map(str, TARGET.batch_sizes)]


def compact(spots: Sequence[Spot]) -> str:
    """All settings of a series in a cell, the largest file first."""
    return " · ".join(f"×{spot.ratio:.3g} {spot.difference:+.4f}±{(spot.high - spot.low) / 2:.4f}"
                      for spot in sorted(spots, key=lambda spot: spot.ratio))


def verdict_text(members: Sequence[Spot], spots: Sequence[Spot]) -> str:
    """The verdict on a series in a few words."""
    found = verdict(members, spots)
    if not found.saves:
        return "saves no bytes here"
    role = "a control itself; " if members[0].series in CONTROL_SWEEPS else ""
    if found.beaten_by:
        return f"{role}beaten everywhere: {' and '.join(found.beaten_by[:2])}"
    where = ", ".join(f"×{ratio:.3g}" for ratio in dict.fromkeys(found.above))
    return f"{role}no control is as small and as good at {where}"
