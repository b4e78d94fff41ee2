"""From points to what the tables say: means over seeds with intervals, the frontier, and who is beaten by a control."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.catalogue.kept import Kept, Key, key_of
from benchmarks.catalogue.points import Job, Point
from benchmarks.catalogue.sweeps import BOTH, SWEEPS

_Z = 1.959963984540054
SAVES_NOTHING = 1.005  # ratios up to here are the graph's own bytes
CONTROL_SWEEPS = {sweep.name for sweep in SWEEPS if sweep.control}


@dataclass(frozen=True)
class Spot:
    """A setting of a series over its seeds: how many times smaller, at which mean difference, within which interval."""

    series: str
    method: str  # "" for a control that is no method
    on: str
    setting: str
    tuned: bool
    ratio: float
    difference: float
    low: float
    high: float
    seeds: int
    digest: str = ""  # of its first seed's job

    @property
    def is_control(self) -> bool:
        return not self.method or self.series in CONTROL_SWEEPS

    @property
    def name(self) -> str:
        return f"{self.series} + epoch" if self.tuned and "." in self.method else self.series


def spots_of(jobs: Iterable[Job], points: dict[str, Point], kept: Mapping[Key, Kept] | None = None) -> list[Spot]:
    """A spot for every setting of which a point has figures, in the order of the jobs; where an earlier run had more
    seeds, its figures."""
    found: dict[Key, list[Point]] = defaultdict(list)
    first: dict[Key, Job] = {}
    for job in jobs:
        key = key_of(job)
        first.setdefault(key, job)
        point = points.get(job.digest)
        if point is not None and point.failure is None:
            found[key].append(point)
    spots = []
    for key, job in first.items():
        earlier = (kept or {}).get(key)
        if earlier is not None and earlier.seeds > len(found[key]):
            spots.append(Spot(job.series, job.method, job.on, job.setting, job.tuned, earlier.ratio,
                              earlier.difference, earlier.low, earlier.high, earlier.seeds, job.digest))
        elif found[key]:
            spots.append(_spot(job, found[key]))
    return spots


def _spot(job: Job, points: Sequence[Point]) -> Spot:
    """The mean over seeds. Its interval counts the rows (the mean DeLong variance, as the seeds share their rows) and
    the seeds (their variance over their number)."""
    count = len(points)
    mean = sum(point.difference for point in points) / count
    rows = sum(((point.high - point.low) / (2 * _Z)) ** 2 for point in points) / count
    seeds = sum((point.difference - mean) ** 2 for point in points) / (count - 1) / count if count > 1 else 0.0
    half = _Z * math.sqrt(rows + seeds)
    ratio = math.exp(sum(math.log(point.baseline_bytes / point.bytes) for point in points) / count)
    return Spot(job.series, job.method, job.on, job.setting, job.tuned, ratio, mean, mean - half, mean + half, count,
                points[0].digest)


def frontier(spots: Iterable[Spot]) -> list[Spot]:
    """Spots that no other is at least as small and at least as good as, from the largest file to the smallest."""
    best, kept = -math.inf, []
    for spot in sorted(spots, key=lambda spot: (-spot.ratio, -spot.difference)):
        if spot.difference > best and spot.ratio > SAVES_NOTHING:
            kept.append(spot)
            best = spot.difference
    return kept[::-1]


def rivals(spot: Spot, spots: Iterable[Spot]) -> list[Spot]:
    """Controls that are at least as small and lose no more: of the same part, with no more training than the spot."""
    return [other for other in spots if other.is_control and other.series != spot.series
            and spot.on in (other.on, BOTH) and (spot.tuned or not other.tuned)
            and other.ratio >= spot.ratio and other.difference >= spot.difference
            and (other.ratio, other.difference) != (spot.ratio, spot.difference)]


@dataclass(frozen=True)
class Verdict:
    """What the controls say of a series: nothing saved, beaten at every setting, or where it stands above them."""

    saves: bool
    beaten_by: tuple[str, ...]  # the controls that beat it, where they do so at every setting
    above: tuple[float, ...]  # ratios at which no control is as small and as good


def verdict(members: Sequence[Spot], spots: Sequence[Spot]) -> Verdict:
    """The verdict on all settings of a series (with and without training)."""
    saving = [spot for spot in members if spot.ratio > SAVES_NOTHING]
    above, beaten = [], []
    for spot in saving:
        stronger = rivals(spot, spots)
        if stronger:
            beaten.append(max(stronger, key=lambda other: other.difference).series)
        else:
            above.append(spot.ratio)
    everywhere = tuple(dict.fromkeys(beaten)) if not above else ()
    return Verdict(bool(saving), everywhere, tuple(sorted(above)))


def by_series(spots: Iterable[Spot]) -> dict[str, list[Spot]]:
    found: dict[str, list[Spot]] = defaultdict(list)
    for spot in spots:
        found[spot.series].append(spot)
    return dict(found)
