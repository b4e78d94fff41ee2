"""Learning-rate schedules: the factor on every step size, from where a training stands.

Sources: warm-up, Goyal et al. 2017, arXiv:1706.02677; cosine, Loshchilov & Hutter 2017, arXiv:1608.03983; one cycle,
Smith & Topin 2019, arXiv:1708.07120. Here: one cycle moves step sizes alone, not Adam's momentum.
"""

from __future__ import annotations

import math

from compression.train.params import Schedule

ONE_CYCLE_START = 1 / 25
PLATEAU_FACTOR = 0.1


def rate_factor(schedule: Schedule, step: int, total_steps: int, *, warmup: float, reductions: int = 0) -> float:
    """The factor of step `step` (from 0) of `total_steps`. `reductions`: epochs so far that did not improve."""
    if schedule == "constant":
        return 1.0
    if schedule == "plateau":
        return PLATEAU_FACTOR**reductions
    rising = warmup * total_steps
    if step < rising:
        done = (step + 1) / math.ceil(rising)
        if schedule == "one_cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - math.cos(math.pi * done)) / 2
        return done
    if schedule == "warmup":
        return 1.0
    done = (step + 1 - rising) / max(1.0, total_steps - rising)
    return (1 + math.cos(math.pi * min(1.0, done))) / 2
