"""Signals that interrupt one another stop a worker, and never hang it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.stopping import Stop

ROOT = Path(__file__).resolve().parents[2]
HANDLED = """
import signal, sys, time
from jobs.stopping import Stop

stop = Stop()
signal.signal(signal.SIGALRM, lambda number, frame: stop.set())
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
end = time.monotonic() + 1
while time.monotonic() < end:
    stop.set()
    stop.wait(1)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no interval timers")
def test_a_signal_may_arrive_while_another_is_handled():
    assert subprocess.run([sys.executable, "-c", HANDLED], cwd=ROOT, timeout=120).returncode == 0


def test_waiting_ends_at_its_time_and_says_whether_a_stop_was_asked_for():
    stop, began = Stop(), time.monotonic()
    assert stop.wait(0.2) is False and time.monotonic() - began >= 0.2
    stop.set()
    assert stop.wait(3600) is True and stop.is_set()
