"""Processes that end when they should: children that die with their parent, and what is left of earlier attempts."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import psutil

MARK = "RECPRESS_JOB_FOLDER"  # in the environment of a job's processes, whatever they start themselves
PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, how: signal.Signals) -> None:
    """Ask the kernel for a signal when the parent dies (Linux), and exit if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(how), 0, 0, 0)
    if is_orphan(parent):
        os._exit(1)


def is_orphan(parent: int) -> bool:
    """The process that started this one is gone. Always False on Windows, which doesn't tell."""
    return os.name == "posix" and os.getppid() != parent


def be_first_to_go() -> None:
    """Let the kernel take this process before the app and its worker when memory runs out (Linux)."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return  # not Linux, or not allowed: then the kernel takes the largest, which is mostly this one


def kill_group(leader: int) -> None:
    """Kill a process and everything it started, if any of it is left."""
    if os.name != "posix":
        return
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def kill_leftovers(folder: Path) -> int:
    """Kill what is left of an earlier attempt at the job of this folder, on this machine; gives how many.

    A killed worker takes its child with it, yet not what the child had started; and a worker that was only
    suspended may have lost the job to us. They are known by their environment (Linux).
    """
    wanted = f"{MARK}={folder}".encode()
    killed = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        except OSError:
            continue  # gone meanwhile, or not ours
    return killed


def processor_seconds(pid: int) -> float:
    """Processor time that a process and all it started have used so far; of ended ones, what their parent counted."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0.0
    for process in family:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue  # ended just now
    return total


def is_running(pid: int) -> bool:
    """A process with this number is there."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
