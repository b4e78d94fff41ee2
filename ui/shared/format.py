"""Numbers and times in words, and which way is better.

What figures need too (units, differences) lives in compression/tasks/units.py and is handed on from here, so that a
page has one place to ask.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Literal

from compression.tasks.units import (
    MISSING,
    format_change,
    format_difference,
    format_exact,
    format_value,
    human_bytes,
    human_count,
    human_seconds,
    metric_of,
    metric_title,
    signed,
)

__all__ = [
    "MISSING", "ago", "direction", "exact_bytes", "format_change", "format_difference", "format_exact",
    "format_value", "human_bytes", "human_count", "human_seconds", "metric_of", "metric_title",
    "percent", "plural", "signed", "when",
]

Direction = Literal["better", "worse", "same"]


def direction(key: str, value: float | None, baseline: float | None) -> Direction | None:
    """Whether a value is better or worse than the baseline's in the metric's own direction; None if not measured.

    What reads the same when written ("±0.0000") is the same, and what two measurements of one file may differ by.
    """
    if value is None or baseline is None:
        return None
    near = baseline != 0 and abs(value / baseline - 1) <= metric_of(key).same_within
    if near or format_difference(key, value, baseline).startswith("±"):
        return "same"
    return "better" if metric_of(key).better(value, baseline) else "worse"


def exact_bytes(size: float | None) -> str:
    """12412345 → "12,412,345 bytes", for hovering over."""
    return MISSING if size is None else f"{size:,.0f} bytes"


def percent(share: float | None, digits: int = 1) -> str:
    """0.0345 → "3.5 %"; "—" for what wasn't measured."""
    return MISSING if share is None else f"{share * 100:.{digits}f} %"


def plural(count: int, word: str, many: str | None = None) -> str:
    """1 → "1 run", 3 → "3 runs", 1200 → "1,200 runs"."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def ago(then: float | None, now: float | None = None) -> str:
    """How long ago, in the largest unit: "just now", "5 min ago", "3 days ago"; "—" for never."""
    if then is None:
        return MISSING
    seconds = max(0.0, (time.time() if now is None else now) - then)
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h ago"
    return plural(int(seconds // 86400), "day") + " ago"


def when(then: float | None) -> str:
    """Date and time to the minute in the server's time zone: "2026-03-01 14:05"."""
    return MISSING if then is None else datetime.fromtimestamp(then).strftime("%Y-%m-%d %H:%M")
