"""Latency of what stands on the frontier, beside the fp32 export in the same process; kept by digest as points are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.catalogue.controls import CONTROLS
from benchmarks.catalogue.judge import compress
from benchmarks.catalogue.points import Job
from benchmarks.catalogue.references import load_reference, one_thread
from compression.measure.latency import measure_latency
from compression.spec.records import Target

TARGET = Target(batch_sizes=(1, 512), threads=1)
FILE = "latency.jsonl"
Ratios = dict[str, dict[str, list[float]]]  # digest → batch size → ratio, low, high


def read_latency(folder: Path) -> Ratios:
    """Ratios measured so far."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {found["digest"]: found["ratios"] for found in map(json.loads, lines)}


def time_jobs(folder: Path, jobs: Iterable[Job]) -> None:
    """Build each file once more and time it beside its baseline, in turn, one thread."""
    one_thread()
    known = read_latency(folder)
    for job in jobs:
        if job.digest in known:
            continue
        reference = load_reference(folder, job.dataset, job.seed)
        with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
            if job.recipe is not None:
                path, _ = compress(reference, job.recipe, Path(scratch))
            else:
                path = CONTROLS[job.control].make(reference, job.value, Path(scratch), folder)
            found, _ = measure_latency(path, reference.baseline, reference.rows, TARGET, seed=0,
                                       report=lambda progress: None)
        ratios = {str(item.batch_size): [item.value, item.ci_low, item.ci_high] for item in found
                  if item.metric == "latency_ratio"}
        with (folder / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"digest": job.digest, "ratios": ratios}) + "\n")
        print(f"{job.dataset} {job.series} {job.setting}: {ratios}", flush=True)
