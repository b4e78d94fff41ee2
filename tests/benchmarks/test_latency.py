"""The benchmark of latency: its words follow its numbers, its recipes can run, and a quick run gets to its table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.latency import Line, keep_line, read_lines, recipes, table_of, verdict
from compression.spec.recipe import check
from compression.spec.records import Measurement, Recipe, Step

ROOT = Path(__file__).resolve().parents[2]


def line(name: str, at_512: float, *, at_1: float = 0.9, loss: float = 0.0, put_back: tuple[str, ...] = ()) -> Line:
    ratios = {size: Measurement(metric="latency_ratio", value=value, ci_low=value - 0.01, ci_high=value + 0.01,
                                spread=0.05, batch_size=size) for size, value in ((1, at_1), (512, at_512))}
    return Line(name, ratios, (-loss, -loss - 0.0001, -loss + 0.0001), 500, put_back, {1: 0.1, 512: 3.0}, 0.2)


@pytest.mark.parametrize("key", ["log", "criteo"])
def test_every_recipe_can_run(key):
    for name, steps in recipes(key).items():
        recipe = Recipe(name=name, steps=tuple(Step(method=method, params=params) for method, params in steps))
        assert [problem.message for problem in check(recipe) if problem.severity == "error"] == []


def test_the_goal_counts_the_ratio_the_loss_and_the_slowest_batch_size():
    assert line("a", 0.5).reaches_goal
    assert not line("a", 0.51).reaches_goal
    assert not line("a", 0.3, loss=0.0006).reaches_goal
    assert not line("a", 0.3, at_1=1.06).reaches_goal


def test_the_verdict_names_the_fastest_that_reaches_it_else_the_nearest_miss():
    reached = verdict([line("lossy", 0.2, loss=0.01), line("good", 0.4), line("better", 0.3)], 1000)
    assert "**reached**. *better*: 2.0× smaller, 3.3× faster at batch 512, AUC ±0.0000 (no worse within" in reached
    assert "At batch 512 0.30 [0.29, 0.31] ± 0.05 of the time." in reached
    missed = verdict([line("lossy", 0.2, loss=0.01), line("near", 0.6, at_1=1.4), line("far", 0.8)], 1000)
    assert "**missed**. *near*" in missed and "but 40 % slower at batch 1" in missed


def test_the_table_says_which_layers_stayed_float():
    table = table_of([line("a", 0.6, put_back=("mlp.0",))], 1000, (1, 512))
    assert "| 2.00 | (mlp.0 stayed float) |" in table


def test_a_kept_line_is_read_as_it_was_and_the_latest_counts(tmp_path):
    keep_line(tmp_path / "log.jsonl", line("a", 0.6))
    keep_line(tmp_path / "log.jsonl", line("a", 0.5, put_back=("mlp.0",)))
    assert read_lines(tmp_path / "log.jsonl") == {"a": line("a", 0.5, put_back=("mlp.0",))}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_gets_to_its_table(tmp_path):
    command = [sys.executable, "-m", "benchmarks.latency", "--quick"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=280)
    assert "| static int8 |" in done.stdout
