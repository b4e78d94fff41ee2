"""Whether latency intervals say how far one measurement is from the next: a file against itself, call after call.

    python -m benchmarks.latency_spread [--calls 20] [--compared 8] [--batch-sizes 1 512]

An untrained DeepFM is exported; its fp32 export is timed against itself, and its static int8 export against fp32 in
some calls between, each in independent calls of measure_latency. Against itself the truth is 1: the 95 % interval of
the ratio should hold it in nine calls of ten at least. Two calls about the same pair of files should have intervals
that overlap. Writes docs/results/latency_spread.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import combinations
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import numpy as np

from benchmarks import report
from compression.data.click_log import generate_click_log
from compression.data.encode import load_dataset
from compression.export.onnx import export_onnx
from compression.measure.latency import ROUNDS, measure_latency
from compression.models import zoo
from compression.models.folder import LoadedModel
from compression.running.run import apply_recipe
from compression.spec.records import Measurement, Recipe, Step, Target

ROWS = 60_000
CONFIG = {"width": 64, "n_layers": 3}


def quiet(progress: object) -> None:
    """Progress that nobody watches."""


def export_both(folder: Path):
    """(fp32 file, int8 file, test rows)."""
    generate_click_log(folder / "data", rows=ROWS, seed=0)
    dataset = load_dataset(folder / "data")
    model = zoo.build("deepfm", dataset.signature, CONFIG, seed=0).eval()
    loaded = LoadedModel(model, dataset.signature, dataset.vocabularies, "deepfm", model.config)
    recipe = Recipe(name="static int8", steps=(Step(method="quantize.static"),))
    outcome = apply_recipe(loaded, recipe, dataset, folder=folder / "steps", report=quiet)
    files = []
    for name, module in (("fp32", model), ("int8", outcome.model)):
        (folder / name).mkdir()
        files.append(export_onnx(module, dataset.signature, folder / name / "model.onnx").path)
    return *files, dataset.splits["test"]


def ratios_of(own: list[Measurement]) -> dict[int, Measurement]:
    return {item.batch_size: item for item in own if item.metric == "latency_ratio"}


def overlapping(found: list[Measurement]) -> float:
    """Share of pairs of calls whose intervals overlap."""
    return float(np.mean([max(a.ci_low, b.ci_low) <= min(a.ci_high, b.ci_high) for a, b in combinations(found, 2)]))


def line(name: str, size: int, found: list[Measurement], truth: float | None) -> list[object]:
    values = np.array([item.value for item in found])
    held = None if truth is None else f"{sum(item.ci_low <= truth <= item.ci_high for item in found)} of {len(found)}"
    half = np.median([(item.ci_high - item.ci_low) / 2 for item in found])
    return [name, size, len(found), f"{np.exp(np.log(values).mean()):.3f}", f"{values.min():.3f} to {values.max():.3f}",
            f"± {half:.3f}", held, f"{overlapping(found):.0%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20, help="of fp32 against itself")
    parser.add_argument("--compared", type=int, default=8, help="of int8 against fp32, between the first of these")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 512])
    options = parser.parse_args()
    target = Target(batch_sizes=tuple(options.batch_sizes))
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        fp32, int8, rows = export_both(Path(scratch))
        lines, seconds, loads = [], [], []
        found = {"fp32 against itself": [], "static int8 against fp32": []}
        for seed in range(options.calls):
            for (name, calls), path in zip(found.items(), (fp32, int8), strict=True):
                if path == int8 and seed >= options.compared:
                    continue
                started = time.perf_counter()
                own, _ = measure_latency(path, fp32, rows, target, seed=seed, report=quiet)
                seconds.append(time.perf_counter() - started)
                loads.append(os.getloadavg()[0])
                calls.append(ratios_of(own))
                print(name, seed, {size: f"{item.value:.3f} [{item.ci_low:.3f}, {item.ci_high:.3f}]"
                                   for size, item in calls[-1].items()}, flush=True)
    for (name, calls), truth in zip(found.items(), (1.0, None), strict=True):
        lines += [line(name, size, [call[size] for call in calls], truth) for size in target.batch_sizes]
    body = (
        f"{options.calls} independent calls of measure_latency of a file against itself, and {options.compared} of "
        f"another against it between them: a DeepFM of three layers of {CONFIG['width']}, requests drawn from "
        f"{len(rows):,} test rows, one thread, {ROUNDS} rounds a call, each a fresh process that opens both files. A "
        f"call took {np.median(seconds):.1f} s (median). Load of the machine's {os.cpu_count()} cores meanwhile: "
        f"{min(loads):.1f} to {max(loads):.1f}.\n\n"
        + report.table(["files", "batch size", "calls", "ratio", "over the calls", "95 % interval (median half)",
                        "held 1", "pairs of calls that overlap"], lines))
    report.write("latency_spread", "How far latency differs from call to call", body,
                 command=f"python -m benchmarks.latency_spread --calls {options.calls} --compared {options.compared}")


if __name__ == "__main__":
    main()
