"""Every method of the catalogue beside the controls: bytes of the exported file, and what it costs in AUC.

    python -m benchmarks.methods [--folder DIR] [--processes 2] [--adult DIR] [--criteo DIR] [--criteo-indexed DIR]
    python -m benchmarks.methods --quick

On MovieLens-100K every method over its sweep with three seeds, on a generated click log of 2 million rows those that
make tables smaller, on Adult and Criteo samples, where their folders are given, those that make dense layers smaller.
A point is the bytes of the exported file and its AUC beside the fp32 export over the same test rows. Points are
kept in DIR (default .cache/methods): a run that is stopped goes on where it was, and new sweeps add their points; what
docs/results/methods.csv has from enough seeds already is not run again, unless --again names its method.
Writes docs/results/methods.md with its plots.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and faiss are loaded, here and in the children

from benchmarks.catalogue.cards import write_cards
from benchmarks.catalogue.frontier_latency import time_jobs
from benchmarks.catalogue.goals import SEEDS, goal_jobs
from benchmarks.catalogue.goals import SERIES as GOAL
from benchmarks.catalogue.jobs import jobs_of
from benchmarks.catalogue.kept import is_known, read_kept
from benchmarks.catalogue.points import Job, add_point, left_to_do, point_of, read_points
from benchmarks.catalogue.references import SOURCES, load_reference, one_thread, prepare
from benchmarks.catalogue.summary import frontier
from benchmarks.catalogue.write import TABLE, dataset_spots, write_all
from compression.spec.errors import RecPressError

FOLDER = Path(__file__).resolve().parents[1] / ".cache" / "methods"
FULL = ("movielens", "crosses", "convolutions", "attention", "log", "adult", "criteo", "criteo_indexed")


def try_job(folder: Path, job: Job) -> dict[str, Any]:
    """The figures of a job, or the sentence why there are none."""
    from benchmarks.catalogue.controls import CONTROLS
    from benchmarks.catalogue.judge import judge, try_recipe

    one_thread()
    started = time.monotonic()
    try:
        reference = load_reference(folder, job.dataset, job.seed)
        if job.recipe is not None:
            return try_recipe(reference, job.recipe)
        with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
            path = CONTROLS[job.control].make(reference, job.value, Path(scratch), folder)
            return judge(reference, path) | {"seconds": round(time.monotonic() - started, 1)}
    except RecPressError as error:
        return {"failure": str(error)}
    except Exception:  # a defect of one method must not stop the others; it is printed and tried again next time
        return {"failure": traceback.format_exc(limit=-3)}


def prepared(folder: Path, key: str, seed: int, given: Path | None) -> str:
    one_thread()
    return str(prepare(folder, SOURCES[key], seed, given))


def run_all(folder: Path, keys: list[str], given: dict[str, Path | None], *, processes: int, quick: bool,
            again: list[str], only: list[str]) -> None:
    """Train what references are missing, then try what jobs are left, each process on its own job."""
    seeds = [(key, seed) for key in keys for seed in (SOURCES[key].seeds[:1] if quick else SOURCES[key].seeds)]
    seeds += [("log", seed) for seed in SEEDS if "log" in keys and ("log", seed) not in seeds]
    path = folder / "points.jsonl"
    jobs = [*(goal_jobs() if "log" in keys else ()),
            *(job for key in keys for job in jobs_of(SOURCES[key], quick=quick))]
    jobs.sort(key=lambda job: (job.seed, job.on != GOAL))  # the first seed of everything comes first
    kept = {} if quick else read_kept(TABLE)
    todo = [job for job in left_to_do(jobs, read_points(path), again=again)
            if job.method in again or not is_known(job, kept)]
    if only:
        todo = [job for job in todo if any(word in (job.method or job.control) for word in only)]
    if processes == 1:
        for key, seed in seeds:
            prepared(folder, key, seed, given.get(key))
        results: Iterator[tuple[Job, dict[str, Any]]] = ((job, try_job(folder, job)) for job in todo)
        _write_down(path, results, len(todo))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        first = {key: pool.submit(prepared, folder, key, SOURCES[key].seeds[0], given.get(key)) for key in keys}
        for future in first.values():
            future.result()  # the data is written once, by the first seed
        for future in [pool.submit(prepared, folder, key, seed, given.get(key)) for key, seed in seeds]:
            future.result()
        waiting = {pool.submit(try_job, folder, job): job for job in todo}
        _write_down(path, ((waiting[done], done.result()) for done in as_completed(waiting)), len(todo))


def _write_down(path: Path, results: Iterator[tuple[Job, dict[str, Any]]], total: int) -> None:
    for place, (job, figures) in enumerate(results, 1):
        point = point_of(job, figures)
        add_point(path, point)
        told = (f"× {point.baseline_bytes / point.bytes:.2f} {point.difference:+.5f} {point.seconds} s"
                if point.failure is None else f"failed: {point.failure}")
        print(f"{place}/{total} {job.dataset} {job.seed} {job.series} {job.setting}{' tuned' * job.tuned}: {told}",
              flush=True)


def time_frontiers(folder: Path, keys: list[str]) -> None:
    """Latency of every file on a frontier, with the first seed."""
    points = read_points(folder / "points.jsonl")
    for key in keys:
        wanted = {spot.digest for spot in frontier(dataset_spots(key, points, read_kept(TABLE)))}
        jobs = {job.digest: job for job in [*jobs_of(SOURCES[key]), *goal_jobs()] if job.digest in wanted}
        time_jobs(folder, jobs.values())


def main() -> None:
    """Run what is left, then write the tables and plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where references and points are kept")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one setting of each sweep on a small generated log")
    parser.add_argument("--datasets", nargs="*", choices=sorted(SOURCES), help="these alone")
    parser.add_argument("--again", nargs="*", default=[], metavar="METHOD", help="methods whose points are repeated")
    parser.add_argument("--only", nargs="*", default=[], metavar="METHOD", help="methods or controls to run now")
    parser.add_argument("--run-only", action="store_true", help="points without tables and plots")
    parser.add_argument("--write-only", action="store_true", help="tables and plots of the points there are")
    parser.add_argument("--latency", action="store_true", help="time what is on the frontiers; wants a quiet machine")
    parser.add_argument("--cards", action="store_true", help="fill in Measured here of the methods' cards as well")
    for key in ("adult", "criteo", "criteo_indexed"):
        parser.add_argument("--" + key.replace("_", "-"), type=Path, help=f"folder with rows of {SOURCES[key].title}")
    options = parser.parse_args()
    given = {key: getattr(options, key) for key, source in SOURCES.items() if source.given}
    keys = ["quick"] if options.quick else list(options.datasets or FULL)
    keys = [key for key in keys if not SOURCES[key].given or given[key] or (options.folder / key / "data").exists()]
    if not options.write_only:
        run_all(options.folder, keys, given, processes=1 if options.quick else options.processes,
                quick=options.quick, again=options.again, only=options.only)
    if options.latency:
        time_frontiers(options.folder, keys)
    if not options.run_only:
        write_all(read_points(options.folder / "points.jsonl"), keys, options.folder)
    if options.cards:
        write_cards(read_points(options.folder / "points.jsonl"), keys)


if __name__ == "__main__":
    main()
