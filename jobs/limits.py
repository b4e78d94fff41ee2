"""How long a job may stand still and how long it may take: two settings, and the watch that holds a job to them.

Progress is a report that says something new, or processor time used by the job's processes. So a long stage that
reports nothing (k-means, an export, an upload read in its sandbox) is never ended while it computes, and a process
that is suspended, deadlocked or waiting for a disk that doesn't answer is. An endless loop is left to the time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from compression.spec.records import Failure, Progress
from storage.machine import Machine
from storage.silence import Silence

STOOD_STILL = "StoodStill"
TIME_LIMIT = "TimeLimit"
LEAST_SHARE = 1 / 500  # of one processor: a process that only waits for a lock in a loop uses less
LONGEST_LOOK_S = 5.0


@dataclass(frozen=True)
class Limit:
    """A setting of the store: its key, what the Settings page shows, and its bounds."""

    key: str
    title: str
    unit: str
    unit_s: float
    default: int
    lower: int
    upper: int
    help: str

    def seconds(self, store: Machine) -> float:
        """The limit as it is set now; 0 for none."""
        return float(store.setting(self.key, self.default)) * self.unit_s


STANDSTILL = Limit(
    "job_standstill_minutes", "Longest time without progress", "minutes", 60.0, default=10, lower=1, upper=1440,
    help="A job that reports nothing new and uses no processor time for so long is ended and tried once more.")
DURATION = Limit(
    "job_duration_hours", "Longest time of a job", "hours", 3600.0, default=72, lower=0, upper=720,
    help="A job that takes longer is ended; a retry goes on from its checkpoint. 0 sets no limit.")
LIMITS = (STANDSTILL, DURATION)


class Watch:
    """Holds one attempt at a job to the limits of the store."""

    def __init__(self, store: Machine, processor_seconds: Callable[[], float],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """`processor_seconds`: how much processor time the attempt has used so far."""
        self._store, self._processor_seconds, self._clock = store, processor_seconds, clock
        self._started = self._looked = clock()
        self._every_s = 0.0
        self._silence = Silence(clock, longest_gap_s=2 * LONGEST_LOOK_S)
        self._used_s = 0.0  # processor time at the last progress

    def look(self, progress: Progress | None) -> Failure | None:
        """The failure of a job that has reached a limit. Cheap: it looks only when it is time to."""
        now = self._clock()
        if now - self._looked < self._every_s:
            return None
        self._looked = now
        still_s, duration_s = STANDSTILL.seconds(self._store), DURATION.seconds(self._store)
        self._every_s = min(LONGEST_LOOK_S, still_s / 20)
        used_s = self._processor_seconds()
        if abs(used_s - self._used_s) >= still_s * LEAST_SHARE:  # less: what ended processes used is no longer counted
            self._used_s = used_s
        said = (progress.stage, progress.done, progress.message) if progress else None
        still = self._silence.observe({self: (said, self._used_s)})[self]
        if still >= still_s:
            return stood_still(still_s)
        if duration_s and now - self._started >= duration_s:
            return took_too_long(duration_s)
        return None


def stood_still(seconds: float) -> Failure:
    return Failure(kind=STOOD_STILL,
                   message=f"The job made no progress for {duration(seconds)}: it reported nothing new and used no "
                           "processor time, so its process was ended.",
                   next_step="The log shows where it stopped. If the machine was suspended or a disk did not answer, "
                             "retry: the job goes on from its checkpoint. The limit is on the Settings page.")


def took_too_long(seconds: float) -> Failure:
    return Failure(kind=TIME_LIMIT,
                   message=f"The job took longer than {duration(seconds)}, the time limit of a job, and was ended.",
                   next_step="If the log shows that it was still getting on, raise the limit on the Settings page, "
                             "then retry: the job goes on from its checkpoint.")


def duration(seconds: float) -> str:
    """ "10 minutes", "1 hour", "1.5 seconds"."""
    unit, size = next(((name, size) for name, size in (("hour", 3600), ("minute", 60)) if seconds >= size),
                      ("second", 1))
    return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
