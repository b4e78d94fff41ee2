"""From what went wrong to a Failure: the cause in a sentence, the next step, and whether another try may help."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

from compression.spec.disk import causes, is_disk_full, is_full
from compression.spec.errors import RecPressError
from compression.spec.records import Failure
from compression.spec.runtime import RUNTIMES

OUT_OF_MEMORY = "OutOfMemory"
DISK_FULL = "DiskFull"
KILLED = "Killed"

MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
                "std::bad_alloc", "bad allocation", "failed to allocate memory", "unable to allocate")


def explain(error: BaseException, *folders: Path) -> Failure:
    """The failure for an exception of a job that writes into these folders. It would come again, so no second try."""
    if is_out_of_memory(error):
        return out_of_memory(f"The job ran out of memory: {_short(error)}")
    if is_disk_full(error, *folders):
        return disk_full()
    if isinstance(error, RecPressError):
        return Failure(kind=type(error).__name__, message=str(error), next_step=_next_step(error))
    return Failure(kind=type(error).__name__, message=f"{type(error).__name__}: {_short(error)}",
                   next_step="This looks like a fault in RecPress: the log has the place. "
                             "A smaller recipe may still run.")


def is_out_of_memory(error: BaseException) -> bool:
    """MemoryError, torch's own error on CPU or GPU, and what runtimes say, whoever wrapped it."""
    runtimes = {package for one in RUNTIMES.values() for package in one.packages}
    for link in causes(error):
        if isinstance(link, MemoryError) or type(link).__name__ == "OutOfMemoryError":
            return True
        if isinstance(link, OSError) and link.errno == errno.ENOMEM:
            return True
        if isinstance(link, RuntimeError | OSError) and any(sign in str(link).lower() for sign in MEMORY_SIGNS):
            return True
        if type(link).__module__.split(".")[0] in runtimes and any(s in str(link).lower() for s in MEMORY_SIGNS):
            return True
    return False


def out_of_memory(message: str) -> Failure:
    return Failure(kind=OUT_OF_MEMORY, message=message,
                   next_step="Choose a smaller batch size or fewer rows, stop other jobs, or use a machine with more "
                             "memory; then retry.")


def disk_full() -> Failure:
    return Failure(kind=DISK_FULL, message="The disk is full: the job's files could not be written.",
                   next_step="Free some space (old runs on the Runs page, or files beside RecPress), or set "
                             "RECPRESS_HOME to a larger disk; then retry. What the job had written was removed to "
                             "make room, so it starts anew.")


def ended_by(code: int, *, memory_kills: int, folder: Path | None = None) -> tuple[Failure, bool]:
    """The failure of a child that ended without a word, and whether to try again.

    code: as subprocess gives it, −9 for SIGKILL; memory_kills: processes the kernel killed for memory meanwhile;
    folder: where the child wrote. A full disk ends a process that writes through memory (SIGBUS), and one whose
    library gives up (SIGABRT).
    """
    if code != -signal.SIGKILL and folder is not None and is_full(folder):
        return disk_full(), False
    if code == -signal.SIGKILL and memory_kills > 0:
        return out_of_memory("The system ran out of memory and killed the job."), False
    if code < 0:
        name = signal.Signals(-code).name if -code in {item.value for item in signal.Signals} else f"signal {-code}"
        hint = " SIGKILL most often means that memory ran out." if name == "SIGKILL" else ""
        return Failure(kind=KILLED, message=f"The job's process was killed by {name}.{hint}",
                       next_step="Look at the log; with less memory in use (a smaller batch size, fewer jobs at "
                                 "once) retry: the job goes on from its checkpoint."), True
    return Failure(kind=KILLED, message=f"The job's process ended with status {code} and no result.",
                   next_step="Look at the log for what it printed last, then retry."), True


def memory_kills() -> int:
    """How many processes the kernel has killed for memory so far: in our control group and in all. 0 if unknown."""
    counts = [_counter(Path("/proc/vmstat"), "oom_kill")]
    for group in (Path("/sys/fs/cgroup") / _own_group().lstrip("/"), Path("/sys/fs/cgroup")):
        counts.append(_counter(group / "memory.events", "oom_kill"))
    counts.append(_counter(Path("/sys/fs/cgroup/memory/memory.oom_control"), "oom_kill"))
    return sum(counts)


def _own_group() -> str:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _counter(path: Path, key: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [key]), 0)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if len(text) <= 500 else f"{text[:500]}…"


def _next_step(error: RecPressError) -> str:
    page = {"ModelError": "the model on the Models page", "DataError": "the dataset on the Datasets page",
            "RecipeError": "the recipe (clone this run to change it)",
            "ExportError": "the skipped layers and the log; another method or fewer bits may export",
            "MeasureError": "the target of the run (device, batch sizes)"}.get(type(error).__name__)
    return f"Check {page}." if page else "Look at the log, then retry."
