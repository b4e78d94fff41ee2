"""The benchmark of all methods: its table of sweeps is whole, it resumes, and its verdicts follow their words."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.catalogue.goals import goal_jobs
from benchmarks.catalogue.jobs import all_sweeps, broken, jobs_of, sweep_jobs
from benchmarks.catalogue.kept import is_known, read_kept
from benchmarks.catalogue.points import Job, add_point, left_to_do, point_of, read_points
from benchmarks.catalogue.references import SOURCES
from benchmarks.catalogue.summary import Spot, frontier, spots_of, verdict
from benchmarks.catalogue.svg import scatter
from benchmarks.catalogue.write import earlier_references
from compression.spec.method import METHODS
from compression.spec.recipe import check, trains

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {"bytes": 50, "baseline_bytes": 100, "auc": 0.79, "difference": -0.01, "low": -0.02, "high": 0.0, "n": 10}


def spot(series: str = "a", *, method: str = "a.b", on: str = "tables", ratio: float = 2.0, difference: float = -0.01,
         tuned: bool = False) -> Spot:
    return Spot(series, method, on, "", tuned, ratio, difference, difference - 0.001, difference + 0.001, 1)


def test_the_settings_of_every_sweep_are_within_the_bounds_of_their_method():
    assert broken() == []


def test_every_method_of_the_catalogue_is_run_at_its_default_at_least():
    assert {sweep.method for sweep in all_sweeps()} >= set(METHODS)


@pytest.mark.parametrize("key", sorted(SOURCES))
def test_every_recipe_of_the_benchmark_may_run(key):
    jobs = [*jobs_of(SOURCES[key]), *goal_jobs()]
    assert [(job.series, problem.message) for job in jobs if job.recipe is not None
            for problem in check(job.recipe) if problem.severity == "error"] == []


def test_codes_that_cannot_be_trained_come_after_the_epoch():
    sweep = next(sweep for sweep in all_sweeps() if sweep.last)
    (without, tuned) = sweep_jobs(SOURCES["movielens"], 0, sweep, sweep.settings[0])
    assert [step.method for step in without.recipe.steps] == [sweep.shrinks, sweep.method]
    first, training, last = tuned.recipe.steps
    assert (first.method, last.method) == (sweep.shrinks, sweep.method) and trains(training)


def test_every_method_has_three_seeds_where_it_has_a_dataset_of_its_own():
    assert {len(SOURCES[sweep.only].seeds) for sweep in all_sweeps() if sweep.only} == {3}


def test_a_stopped_run_goes_on_with_what_has_no_point_and_with_what_failed(tmp_path):
    jobs = [Job("d", 0, "a", "tables", "", str(value), control="c", value=value) for value in range(3)]
    path = tmp_path / "points.jsonl"
    add_point(path, point_of(jobs[0], FIGURES))
    add_point(path, point_of(jobs[1], {"failure": "no"}))
    with path.open("a") as file:
        file.write('{"digest": "cut sho')
    assert left_to_do(jobs, read_points(path)) == jobs[1:]


def test_the_mean_over_seeds_has_an_interval_of_rows_and_seeds():
    jobs = [Job("d", seed, "a", "tables", "", "1", control="c", value=1) for seed in range(3)]
    same = {job.digest: point_of(job, FIGURES) for job in jobs}
    one, = spots_of(jobs, same)
    assert (one.seeds, one.ratio) == (3, pytest.approx(2.0))
    assert (one.low, one.high) == (pytest.approx(-0.02), pytest.approx(0.0))  # rows are shared: seeds don't narrow it
    apart = {job.digest: replace(point_of(job, FIGURES), difference=0.01 * job.seed) for job in jobs}
    wide, = spots_of(jobs, apart)
    assert wide.high - wide.low > one.high - one.low


def test_figures_of_an_earlier_run_stand_until_there_are_as_many_seeds(tmp_path):
    jobs = [Job("movielens", seed, "a", "tables", "", "1", control="c", value=1) for seed in range(3)]
    path = tmp_path / "methods.csv"
    path.write_text("dataset,series,setting,tuned,times_smaller,auc_difference,low,high,seeds\n"
                    "movielens,a,1,0,4.000,-0.000500,-0.001000,0.000000,2\n")
    kept = read_kept(path)
    points = {job.digest: point_of(job, FIGURES) for job in jobs}
    one_seed = {jobs[0].digest: points[jobs[0].digest]}
    assert [(one.ratio, one.seeds) for one in spots_of(jobs, one_seed, kept)] == [(4.0, 2)]
    assert [(one.ratio, one.seeds) for one in spots_of(jobs, points, kept)] == [(pytest.approx(2.0), 3)]
    assert not is_known(jobs[0], kept) and not is_known(replace(jobs[0], setting="2"), kept)
    path.write_text(path.read_text().replace(",2\n", ",3\n"))
    assert is_known(jobs[0], read_kept(path))


def test_what_a_page_says_of_its_references_stands_where_a_machine_has_none(tmp_path):
    page = tmp_path / "methods.md"
    assert earlier_references(page) == {}
    page.write_text("# Every method\n\nMade.\n\n## Goals\n\nReached.\n\n"
                    "## Adult\n\nReferences (deepfm).\n\n- seed 0: test\n\n"
                    "![Adult](methods-adult.svg)\n\nThe frontier.\n")
    assert earlier_references(page) == {"Adult": "References (deepfm).\n\n- seed 0: test"}


def test_the_frontier_holds_what_nothing_beats_on_both_axes():
    spots = [spot(ratio=2, difference=-0.01), spot(ratio=3, difference=-0.02), spot(ratio=2.5, difference=-0.03)]
    assert [(one.ratio, one.difference) for one in frontier(spots)] == [(2, -0.01), (3, -0.02)]


def test_a_method_is_beaten_by_controls_of_its_part_with_no_more_training():
    members = [spot(ratio=2), spot(ratio=3, difference=-0.05)]
    controls = {"stock": spot("stock", method="", ratio=3, difference=0.0)}
    assert verdict(members, [*members, *controls.values()]).beaten_by == ("stock",)
    assert verdict(members, [*members, replace(controls["stock"], on="dense")]).above == (2, 3)
    assert verdict(members, [*members, replace(controls["stock"], tuned=True)]).above == (2, 3)
    assert verdict(members, [*members, replace(controls["stock"], ratio=2)]).above == (3,)
    assert not verdict([spot(ratio=1.0)], []).saves


def test_the_plot_is_an_svg_with_a_mark_for_every_spot():
    spots = [spot(ratio=2), spot("c", method="", ratio=4, difference=-0.5), spot(ratio=3, tuned=True)]
    drawn = ElementTree.fromstring(scatter(spots, "A & B", lowest=-0.02))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}title"))) == 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_quick_run_tries_the_methods_and_controls_it_is_told_to(tmp_path):
    only = ("embed.quantize_rows", "stock")
    command = [sys.executable, "-m", "benchmarks.methods", "--quick", "--run-only", "--folder", str(tmp_path)]
    subprocess.run([*command, "--only", *only], cwd=ROOT, check=True, capture_output=True, timeout=580)
    points = read_points(tmp_path / "points.jsonl").values()
    assert [point.failure for point in points if point.failure] == []
    wanted = {job.digest for job in jobs_of(SOURCES["quick"], quick=True)
              if any(word in (job.method or job.control) for word in only)}
    assert {point.digest for point in points} == wanted and len(wanted) >= 2
