"""What lies in a job's folder. Worker, executor and child agree on these names; `work` outlives an attempt."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

ASSIGNMENT, OUTCOME = "assignment.json", "outcome.json"
LOG = "log.txt"  # as `Store.log_path` names it
WORK, INPUTS = "work", "inputs"
EVENTS = "tensorboard"


def clean(folder: Path) -> None:
    """Remove what a job that is over no longer needs; its log stays."""
    make_room(folder)
    for name in (ASSIGNMENT, OUTCOME):
        (folder / name).unlink(missing_ok=True)
    for leftover in folder.glob("tmp*"):
        leftover.unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """Remove a job's working files; its outcome stays, whose files are in the artifact store."""
    for name in (WORK, INPUTS):
        shutil.rmtree(folder / name, ignore_errors=True)


def note(log: Path, text: str) -> None:
    """A line of the worker in a job's log; a full disk doesn't stop the worker."""
    try:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    except OSError:
        with suppress(OSError):
            print(f"{log.parent.name}: {text}", file=sys.stderr, flush=True)
