"""How often the 95 % intervals of the quality metrics hold the truth, over draws from populations that are known.

    python -m benchmarks.coverage [--draws 1000] [--users 250]

Three populations, each with a model and a noisier baseline of it:

    rows         every row is drawn on its own; 16 rows share a user by chance alone
    users        a user is drawn with a taste of their own, a skill of the model for them, and 12 or more rows
    candidates   a user is drawn with one positive among 30 rows, as in files of candidates

The truth is the value over a large draw of the same kind: what the metric would be on endless rows or users. Metrics of
rows (AUC, log loss) promise an interval for rows drawn on their own; where users bring many rows that hang together,
theirs are too narrow, and the table shows by how much. Metrics of users promise it wherever users are drawn on their
own. Writes docs/results/coverage.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import report
from compression.data.dataset import Rows
from compression.measure.estimates import Estimate
from compression.measure.quality import estimate
from compression.spec.metrics import METRICS
from compression.spec.task import DEFAULT_TASK, TASKS

ALL = TASKS[DEFAULT_TASK].metrics
TRUTH_USERS = 40_000
USER_METRICS = ("gauc", "hit_rate_10", "ndcg_10")
PROMISED = {"rows": ("auc", "logloss", *USER_METRICS), "users": USER_METRICS, "candidates": USER_METRICS}

Draw = tuple[np.ndarray, np.ndarray, Rows]  # scores of the model and of its baseline (N,), rows


def draw_rows(random: np.random.Generator, n_users: int) -> Draw:
    n = 16 * n_users
    logit = random.normal(-1, 1.2, n)
    label = random.random(n) < _chance(logit)
    return _chance(logit + random.normal(0, 0.7, n)), _chance(logit), _rows(label, np.arange(n) % n_users)


def draw_users(random: np.random.Generator, n_users: int) -> Draw:
    user = np.repeat(np.arange(n_users), np.minimum(12 + random.geometric(1 / 20, n_users), 300))
    taste, skill = random.normal(-1.5, 0.8, n_users)[user], random.normal(1, 0.5, n_users)[user]
    liking = random.normal(0, 1.2, len(user))
    label = random.random(len(user)) < _chance(taste + liking)
    scores = _chance(taste / 2 + skill * liking + random.normal(0, 0.7, len(user)))
    return scores, _chance(taste / 2 + liking), _rows(label, user)


def draw_candidates(random: np.random.Generator, n_users: int) -> Draw:
    label = np.zeros((n_users, 30), bool)
    label[:, 0] = True
    liking = random.normal(0, 1, label.shape)
    liking[:, 0] += np.abs(random.normal(0.8, 0.8, n_users))
    scores = _chance(liking + random.normal(0, 0.8, label.shape))
    return scores.ravel(), _chance(liking).ravel(), _rows(label.ravel(), np.repeat(np.arange(n_users), 30))


POPULATIONS: dict[str, Callable[[np.random.Generator, int], Draw]] = {
    "rows": draw_rows, "users": draw_users, "candidates": draw_candidates}


def _chance(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _rows(label: np.ndarray, user: np.ndarray) -> Rows:
    return Rows({}, label.astype(np.float32), user)


@dataclass
class Held:
    """How often an interval was given, and how often it held the truth."""

    truth: float
    given: int = 0
    inside: int = 0

    @property
    def coverage(self) -> float | None:
        return self.inside / self.given if self.given else None

    def count(self, interval: tuple[float, float] | None) -> None:
        if interval is not None:
            self.given += 1
            self.inside += interval[0] <= self.truth <= interval[1]


def coverage(population: str, metrics: tuple[str, ...] = ALL, *, draws: int, users: int
             ) -> dict[tuple[str, bool], Held]:
    """(metric, whether of the difference) → how often its interval held the truth; draws are seeded 0, 1, 2 …"""
    draw = POPULATIONS[population]

    def measure(seed: int, n_users: int) -> dict[str, Estimate]:
        scores, baseline, rows = draw(np.random.default_rng(seed), n_users)
        return {key: estimate(key, scores, baseline, rows) for key in metrics}

    found = {}
    for key, item in measure(10**9, TRUTH_USERS).items():
        found |= {(key, False): Held(item.value), (key, True): Held(item.difference)}
    for seed in range(draws):
        for key, item in measure(seed, users).items():
            found[key, False].count(item.interval)
            found[key, True].count(item.difference_interval)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--users", type=int, default=250, help="in each draw")
    options = parser.parse_args()
    lines = []
    for population in POPULATIONS:
        for (metric, paired), held in coverage(population, draws=options.draws, users=options.users).items():
            told = "no interval" if held.coverage is None else f"{held.coverage:.1%}"
            promised = metric in PROMISED[population] and held.given
            lines.append([population, METRICS[metric].title, "difference" if paired else "value",
                          f"{held.truth:+.4f}" if paired else f"{held.truth:.4f}", told,
                          "yes" if promised else "", f"{held.given:,}", f"{options.users:,}"])
    body = (
        f"The truth is the value over {TRUTH_USERS:,} users drawn in the same way. "
        "*promised*: the interval is meant for draws like these. Where rows of a user hang together, intervals of AUC "
        "and log loss, which take rows as drawn on their own, are too narrow: clustering by user would widen them. "
        "The difference of HR@10 where few users change sides (*rows*, *users*) is held more often than promised, as "
        "counts of a few must be. Calibration error has no interval.\n\n"
        + report.table(["population", "metric", "of", "truth", "coverage", "promised", "draws with an interval",
                        "users a draw"], lines))
    report.write("coverage", "How often the intervals hold the truth", body,
                 command=f"python -m benchmarks.coverage --draws {options.draws} --users {options.users}")


if __name__ == "__main__":
    main()
