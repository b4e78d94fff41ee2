"""Signs of life without a common clock: who watches sees a mark change, or sees it stand still for long enough.

Wall clocks of two moments are never compared: a clock that is set an hour forward or back takes no job from a healthy
worker and keeps none with a dead one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

LEASE_S = 15.0  # a job whose heartbeat was not seen for so long may be taken by another worker


@dataclass
class _Seen:
    mark: Hashable
    still_s: float
    looked: float


class Silence:
    """How long each of several things has shown the same mark, on this observer's monotonic clock. Thread-safe.

    longest_gap_s: the most that counts of the time between two looks. An observer that was suspended itself has not
    watched meanwhile, and those it watches may have been suspended with it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, longest_gap_s: float) -> None:
        self._clock = clock
        self._longest_gap_s = longest_gap_s
        self._seen: dict[Hashable, _Seen] = {}
        self._lock = threading.Lock()

    def observe(self, marks: Mapping[Hashable, Hashable]) -> dict[Hashable, float]:
        """Seconds that each mark has stood still, 0 at the first look; what is no longer there is forgotten."""
        with self._lock:
            now = self._clock()
            kept: dict[Hashable, _Seen] = {}
            for key, mark in marks.items():
                seen = self._seen.get(key)
                still = 0.0
                if seen is not None and seen.mark == mark:
                    still = seen.still_s + min(now - seen.looked, self._longest_gap_s)
                kept[key] = _Seen(mark, still, now)
            self._seen = kept
            return {key: seen.still_s for key, seen in kept.items()}
