"""Work that takes no torch, done in real child processes: `--perform tests.jobs.fake:perform`.

What a job does is its name: "steps 5" counts to five, 50 ms each, keeping a checkpoint in its work folder.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from compression.spec.errors import DataError
from compression.spec.records import Progress, Report
from jobs.records import Assignment
from storage.files import Files
from storage.records import Outcome
from storage.store import Store
from tests.storage.given import add_data, add_model, result_of, run_spec


def submitter(store: Store) -> Callable[[str], int]:
    """A function that queues a run whose name is its action, and gives its id."""
    model, data, seeds = add_model(store), add_data(store), count()
    return lambda action: store.submit(run_spec(store, model=model, data=data, seed=next(seeds)), name=action)


def perform(assignment: Assignment, report: Report) -> Outcome:
    action, _, amount = assignment.name.partition(" ")
    ACTIONS[action](assignment, amount, report)
    digest = Files(Path(assignment.files)).put_bytes(f"bundle of {assignment.spec.recipe.seed}".encode())
    return Outcome(result=result_of(assignment.spec, files={"bundle.zip": digest}), code_version="fake")


def steps(assignment: Assignment, amount: str, report: Report) -> None:
    """Count on from the checkpoint; the log tells every step that was really done."""
    checkpoint = assignment.work / "step"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(done, int(amount)):
        print("step", step, flush=True)
        time.sleep(0.05)
        temporary = assignment.work / "step.new"
        temporary.write_text(str(step + 1))
        temporary.replace(checkpoint)
        report(Progress(stage="count", done=step + 1, total=int(amount), unit="steps"))


def die_once(assignment: Assignment, amount: str, report: Report) -> None:
    mark = assignment.work / "died"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def die(assignment: Assignment, amount: str, report: Report) -> None:
    os.kill(os.getpid(), getattr(signal, amount))


def stop(assignment: Assignment, amount: str, report: Report) -> None:
    """Suspend this process: the first time alone, or always."""
    mark = assignment.work / "stopped"
    if amount == "always" or not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSTOP)


def compute(assignment: Assignment, amount: str, report: Report) -> None:
    """Use so many seconds of processor time and report nothing; with "below", in a process of its own."""
    seconds, _, where = amount.partition(" ")
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    if where == "below":
        subprocess.run([sys.executable, "-c", code], check=True)
        return
    end = time.process_time() + float(seconds)
    while time.process_time() < end:
        pass


def repeat(assignment: Assignment, amount: str, report: Report) -> None:
    """Report the same again and again."""
    while True:
        report(Progress(stage="wait", done=1))
        time.sleep(1)


def stubborn(assignment: Assignment, amount: str, report: Report) -> None:
    """Ignore SIGTERM and start a process of one's own, whose number goes to a file."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (assignment.work / "grandchild").write_text(str(grandchild.pid))
    report(Progress(stage="stubborn"))
    time.sleep(600)


def refuse(assignment: Assignment, amount: str, report: Report) -> None:
    raise DataError("Column 'user' is not in ratings.csv; it has: uid, item.")


def break_down(assignment: Assignment, amount: str, report: Report) -> None:
    raise KeyError("no such layer")


def exhaust_memory(assignment: Assignment, amount: str, report: Report) -> None:
    raise MemoryError("Unable to allocate 80.0 GiB for an array")


def fill_disk(assignment: Assignment, amount: str, report: Report) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def outgrow_disk(assignment: Assignment, amount: str, report: Report) -> None:
    """Write until nothing more fits: "outgrow-disk raise" is told of it, "outgrow-disk SIGBUS" dies of it."""
    report(Progress(stage="write"))
    with (assignment.work / "growing").open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            if amount == "raise":
                raise
            os.kill(os.getpid(), getattr(signal, amount))


def inspect(assignment: Assignment, amount: str, report: Report) -> None:
    """Leave what the child can see for the test to look at."""
    folder = assignment.work
    files = Files(Path(assignment.files))
    files.materialise(assignment.model_manifest, folder / "model")
    seen = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", *amount.split())}
    print("SEEN", seen, sorted(path.name for path in (folder / "model").iterdir()), "torch" in sys.modules, flush=True)


def be_judged(assignment: Assignment, amount: str, report: Report) -> None:
    """Print how readily the kernel would end this process."""
    print("SEEN", Path("/proc/self/oom_score_adj").read_text().strip(), flush=True)


ACTIONS = {"steps": steps, "die-once": die_once, "die": die, "stubborn": stubborn, "refuse": refuse,
           "break-down": break_down, "exhaust-memory": exhaust_memory, "fill-disk": fill_disk,
           "outgrow-disk": outgrow_disk, "inspect": inspect, "be-judged": be_judged, "stop": stop, "compute": compute,
           "repeat": repeat}
