"""The process of one job: `python -m jobs.child FOLDER --perform MODULE:FUNCTION --parent PID`.

It reads FOLDER/assignment.json, does the work, leaves FOLDER/outcome.json and never touches the database. On the
channel to the worker (what was its standard output) it writes a `Said` a line; what libraries print goes to the log.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from compression.spec.records import Progress, Report
from compression.spec.registry import STORED
from jobs.executor import imported
from jobs.failures import explain
from jobs.folder import ASSIGNMENT
from jobs.processes import be_first_to_go, die_with_parent
from jobs.records import Assignment, Said
from storage.records import Outcome

MIN_INTERVAL_S = 0.2  # between two reports of the same stage
FAILED = 3  # exit status after a failure was told

Perform = Callable[[Assignment, Report], Outcome]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--perform", required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent, signal.SIGKILL)
    be_first_to_go()
    channel = _take_channel()
    faulthandler.enable()
    try:
        assignment = Assignment.model_validate_json((given.folder / ASSIGNMENT).read_bytes(), context=STORED)
        assignment.work.mkdir(exist_ok=True)
        perform: Perform = imported(given.perform)
        outcome = perform(assignment, rate_limited(channel))
        write_whole(assignment.outcome, outcome.model_dump_json())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        channel(Said(failure=explain(error, given.folder, Path(tempfile.gettempdir()))))
        with suppress(OSError):  # the log may lie on the disk that is full
            traceback.print_exc()
        return FAILED
    return 0


def rate_limited(channel: Callable[[Said], None], *, clock: Callable[[], float] = time.monotonic) -> Report:
    """Report to the channel, at most five times a second unless the stage changes. The log gets each new stage."""
    last = ("", -MIN_INTERVAL_S)

    def report(progress: Progress) -> None:
        nonlocal last
        now = clock()
        if progress.stage == last[0] and now - last[1] < MIN_INTERVAL_S:
            return
        if progress.stage != last[0]:
            with suppress(OSError):  # a full disk: the job may not need any of it
                print(f"{time.strftime('%H:%M:%S')} {progress.stage} {progress.message}".rstrip(), flush=True)
        last = (progress.stage, now)
        channel(Said(progress=progress))

    return report


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader finds all of it or nothing."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(out.name, path)


def _take_channel() -> Callable[[Said], None]:
    """Keep standard output for the worker alone, and send what anybody prints to the log (standard error)."""
    sys.stdout.flush()
    descriptor = os.dup(1)  # not inherited by processes that the job starts
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(said: Said) -> None:
        line = (said.model_dump_json(exclude_defaults=True) + "\n").encode()
        with lock:
            while line:
                line = line[os.write(descriptor, line):]

    return say


if __name__ == "__main__":
    sys.exit(main())
