"""Latency of recipes beside ONNX Runtime fp32: a DeepFM of three layers of 400, at four batch sizes.

    python -m benchmarks.latency [--folder DIR] [--criteo DIR] [--again]
    python -m benchmarks.latency --quick

The model is trained once on the generated log of 2 million rows (and on the raw Criteo sample, where its folder is
given) and kept in DIR (default .cache/latency). Every recipe is applied as a run applies it, its layers timed beside
the float ones; then the exported file is timed beside the fp32 export, in pairs of random order, one thread. AUC
differences are paired over the test rows. Lines are kept in DIR as they are measured: a run that is stopped goes on,
`--again` measures anew. Writes docs/results/latency.md; wants a quiet machine. `--quick`: a small model on a small log,
one recipe, seconds; nothing is written.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

from benchmarks import report
from benchmarks.catalogue.judge import auc_of, file_bytes
from benchmarks.catalogue.references import SOURCES, Reference, load_reference, one_thread, prepare
from compression.export.onnx import export_onnx
from compression.measure.latency import SECONDS, measure_latency
from compression.measure.layer_latency import time_layers
from compression.running.run import apply_recipe
from compression.running.step_cache import StepCache
from compression.spec.recipe import fine_tune_step
from compression.spec.records import Measurement, Recipe, Step, Target
from compression.spec.values import Value, point_key
from compression.tasks.verdict import sentence

FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "latency"
TARGET = Target(batch_sizes=(1, 32, 512, 4096), threads=1)
CONFIG, NAME = {"width": 400, "n_layers": 3}, "-400"
QUICK_CONFIG, QUICK_NAME = {"width": 64, "n_layers": 2}, "-64"
GOAL_BATCH, GOAL_RATIO, GOAL_LOSS, NOWHERE_ABOVE = 512, 0.5, 0.0005, 1.05

Steps = tuple[tuple[str, dict], ...]
DYNAMIC: Steps = (("quantize.dynamic", {}),)
STATIC: Steps = (("quantize.static", {}),)
HALF: Steps = (("prune.channels", {"ratio": 0.5}),)
QUARTER: Steps = (("prune.channels", {"ratio": 0.75}),)
LOW_RANK: Steps = (("factorize.activation_svd", {"rank_ratio": 0.2}),)


def recipes(source_key: str) -> dict[str, Steps]:
    """Name → steps; an epoch is one of fine-tuning as the benchmark of all methods does it."""
    epoch = fine_tune_step(**SOURCES[source_key].fine_tune)
    tune: Steps = ((epoch.method, epoch.params),)
    rows8: Steps = (("embed.quantize_rows", {"n_bits": 8}),)
    rows4: Steps = (("embed.quantize_rows", {"n_bits": 4}),)
    return {
        "the fp32 export against itself": (),
        "static int8": STATIC,
        "low rank 20 % + static int8": LOW_RANK + STATIC,
        "dynamic int8": DYNAMIC,
        "8-bit rows + static int8": rows8 + STATIC,
        "low rank 20 %": LOW_RANK,
        "half the channels": HALF,
        "4-bit rows + static int8": rows4 + STATIC,
        "a quarter of the channels + epoch + static int8": QUARTER + tune + STATIC,
    }


@dataclass(frozen=True)
class Line:
    """A recipe's figures: ratio by batch size, AUC difference with its interval, bytes, layers that stayed float."""

    name: str
    ratios: dict[int, Measurement]
    difference: tuple[float, float, float]
    size_bytes: int
    put_back: tuple[str, ...]
    fp32_ms: dict[int, float]  # of the fp32 export beside it, by batch size
    load: float  # of the machine while it was timed: processes that ran or waited, over a minute

    @property
    def reaches_goal(self) -> bool:
        """The ratio at the goal's batch size, the loss by its estimate, and no batch size above the bound."""
        return (self.ratios[GOAL_BATCH].value <= GOAL_RATIO and self.difference[0] >= -GOAL_LOSS
                and all(found.value <= NOWHERE_ABOVE for found in self.ratios.values()))


def try_recipe(reference: Reference, name: str, steps: Steps, target: Target, seconds: float,
               cache: StepCache | None = None) -> Line:
    """Compress as a run does, export, score, time."""
    recipe = Recipe(name=name, steps=tuple(Step(method=key, params=params) for key, params in steps))
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        outcome = apply_recipe(reference.loaded, recipe, reference.dataset, folder=Path(scratch), target=target,
                               time_layers=time_layers, cache=cache, report=lambda progress: None)
        exported = export_onnx(outcome.model, reference.loaded.signature, Path(scratch) / "model.onnx")
        found = auc_of(reference, exported.path)
        own, base = measure_latency(exported.path, reference.baseline, reference.rows, target, seed=0, seconds=seconds,
                                    report=lambda progress: None)
        size = file_bytes(exported.path)
    put_back = tuple(skip.module for skip in outcome.skipped if skip.reason.startswith("slower"))
    ratios = {item.batch_size: item for item in own if item.metric == "latency_ratio"}
    times = {item.batch_size: item.value for item in base if item.metric == "latency_p50_ms"}
    return Line(name, ratios, (found.difference, *found.difference_interval), size, put_back, times, os.getloadavg()[0])


def read_lines(path: Path) -> dict[str, Line]:
    """Lines measured so far, by name; the latest of each counts."""
    if not path.exists():
        return {}
    found = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    return {one["name"]: Line(
        one["name"], {int(size): Measurement.model_validate(item) for size, item in one["ratios"].items()},
        tuple(one["difference"]), one["size_bytes"], tuple(one["put_back"]),
        {int(size): ms for size, ms in one["fp32_ms"].items()}, one["load"]) for one in found}


def keep_line(path: Path, line: Line) -> None:
    plain = asdict(line) | {"ratios": {size: item.model_dump(mode="json") for size, item in line.ratios.items()}}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(plain) + "\n")


def ratio_text(found: Measurement) -> str:
    return f"{found.value:.2f} [{found.ci_low:.2f}, {found.ci_high:.2f}] ± {found.spread:.2f}"


def table_of(lines: list[Line], baseline_bytes: int, sizes: tuple[int, ...]) -> str:
    columns = ["recipe", *(f"time × at B={size:,}" for size in sizes), "AUC difference [95 %]", "times smaller", "goal"]
    rows = []
    for line in lines:
        value, low, high = line.difference
        said = "reached" if line.reaches_goal else ""
        if line.put_back:
            said += f" ({', '.join(line.put_back)} stayed float)"
        rows.append([line.name, *(ratio_text(line.ratios[size]) for size in sizes),
                     f"{value:+.5f} [{low:+.5f}, {high:+.5f}]", f"{baseline_bytes / line.size_bytes:.2f}",
                     said.strip()])
    return report.table(columns, rows)


def verdict(lines: list[Line], baseline_bytes: int) -> str:
    """The recipe that is fastest at the goal's batch size among those that reach it, or the nearest miss."""
    goal = (f"at most {GOAL_RATIO} of the time at batch {GOAL_BATCH}, at no more than {GOAL_LOSS} AUC lost and nowhere "
            f"above {NOWHERE_ABOVE}")
    reached = [line for line in lines if line.reaches_goal]
    kept = reached or [line for line in lines if line.difference[0] >= -GOAL_LOSS]
    best = min(kept, key=lambda line: line.ratios[GOAL_BATCH].value)
    told = sentence(f"*{best.name}*", values_of_line(best, baseline_bytes), batch_sizes=sorted(best.ratios))
    return (f"Goal, {goal}: **{'reached' if reached else 'missed'}**. {told} At batch {GOAL_BATCH} "
            f"{ratio_text(best.ratios[GOAL_BATCH])} of the time.")


def values_of_line(line: Line, baseline_bytes: int) -> dict[str, Value]:
    """The figures of a line by metric key, as a run has them."""
    value, low, high = line.difference
    return {"size_bytes": Value(line.size_bytes, baseline=baseline_bytes),
            "auc": Value(0.0, difference=value, difference_low=low, difference_high=high),
            **{point_key("latency_ratio", size): Value(found.value, found.ci_low, found.ci_high)
               for size, found in line.ratios.items()}}


def section(folder: Path, key: str, given: Path | None, *, seconds: float, again: bool,
            write_only: bool) -> Iterator[str]:
    """The part of the report about one dataset."""
    source = SOURCES[key]
    place = prepare(folder, source, 0, given, config=CONFIG, name=NAME)
    reference = load_reference(folder, key, 0, name=NAME)
    path, wanted = folder / f"{key}.jsonl", recipes(key)
    known = {} if again else read_lines(path)
    left = {} if write_only else {name: steps for name, steps in wanted.items() if name not in known}
    with tempfile.TemporaryDirectory(prefix="recpress-") as steps_folder:
        cache = StepCache(Path(steps_folder), (key,), target=TARGET)
        for name, steps in left.items():
            line = try_recipe(reference, name, steps, TARGET, seconds, cache)
            keep_line(path, line)
            print(name, {size: ratio_text(found) for size, found in line.ratios.items()}, line.difference, flush=True)
    found = read_lines(path)
    lines = [found[name] for name in wanted if name in found]
    fp32 = ", ".join(f"{ms:.3g} ms at {size:,}" for size, ms in lines[0].fp32_ms.items())
    yield f"## {source.title}"
    yield (f"DeepFM, three layers of 400, {len(reference.loaded.signature.inputs)} fields of 16 columns; "
           f"{reference.training}; {len(reference.rows):,} test rows. The fp32 export took {fp32} (median). Load of "
           f"the machine's {os.cpu_count()} cores meanwhile: {min(line.load for line in lines):.1f} to "
           f"{max(line.load for line in lines):.1f}.")
    baseline_bytes = file_bytes(place / "baseline" / "model.onnx")
    yield verdict(lines[1:], baseline_bytes)
    yield table_of(lines, baseline_bytes, TARGET.batch_sizes)


def quick() -> None:
    """The same path on a small model, to see that it runs; the ratios of seconds are no result."""
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        folder = Path(scratch)
        prepare(folder, replace(SOURCES["quick"], training={"epochs": 1}), 0, None, config=QUICK_CONFIG,
                name=QUICK_NAME)
        reference = load_reference(folder, "quick", 0, name=QUICK_NAME)
        target = Target(batch_sizes=(1, GOAL_BATCH))
        line = try_recipe(reference, "static int8", STATIC, target, 0.1)
        print(table_of([line], file_bytes(reference.baseline), target.batch_sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the data and the trained model are kept")
    parser.add_argument("--criteo", type=Path, help="folder with rows of the raw Criteo sample")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a batch size, after the least pairs")
    parser.add_argument("--again", action="store_true", help="measure lines anew that are kept")
    parser.add_argument("--write-only", action="store_true", help="the report of the lines there are")
    parser.add_argument("--quick", action="store_true", help="a small model for a few seconds; writes nothing")
    options = parser.parse_args()
    one_thread()
    if options.quick:
        quick()
        return
    how = {"seconds": options.seconds, "again": options.again, "write_only": options.write_only}
    parts = [*section(options.folder, "log", None, **how)]
    if options.criteo:
        parts += section(options.folder, "criteo", options.criteo, **how)
    head = ("Times are those of the exported file over those of the fp32 export of the same model, both run by ONNX "
            "Runtime on one thread of the CPU in one process: pairs in random order over requests drawn from the test "
            "rows, in six rounds with sessions opened anew; [95 % interval over the rounds] ± interquartile range of "
            "the pairs. Clock: CPU time of the thread. Both exports have the same rewritten graph (fewer nodes). "
            "A layer that measured slower than in float would have stayed float, and would be named.")
    report.write("latency", "Latency beside ONNX Runtime fp32", head + "\n\n" + "\n\n".join(parts),
                 command=f"python -m benchmarks.latency --seconds {options.seconds:g}"
                         + (" --criteo DIR" if options.criteo else ""))


if __name__ == "__main__":
    main()
