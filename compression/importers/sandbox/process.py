"""Read an upload in a child process that can do little, and take nothing from it but checked files.

The child gets a scratch folder, the files it may read, a clean environment, and limits that follow from the size of the
upload. Its time is processor time: on a busy machine a sound file takes longer and is read all the same.
Whatever becomes of it (refusal, crash, endless loop, bomb) is a ModelError with a sentence; this process never parses
the upload.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pydantic import ValidationError

from compression.data.description import load_description
from compression.importers.format import formats_of
from compression.importers.inspection import Look
from compression.importers.kept import KeptLook
from compression.importers.sandbox.hardening import LANDLOCK, SECCOMP
from compression.spec.disk import is_full
from compression.spec.errors import ModelError, StorageError
from compression.spec.names import PLAIN_NAME
from compression.spec.records import ModelDescription
from compression.spec.registry import plug_ins

BASE_MEMORY_BYTES = 3 << 30  # torch and ONNX Runtime themselves, with room for graphs
MEMORY_TIMES = 5  # bytes of memory for a byte of the upload: read, mapped, exported, tried
CPU_SECONDS, LOOK_CPU_SECONDS = 120.0, 60.0
CPU_SECONDS_A_GIGABYTE = 60.0
IDLE_SECONDS = 120.0  # without a hundredth of a second of processor time: stopped, or waiting for nothing
WALL_TIMES = 20.0  # a child that mostly sleeps ends too
_PROGRESS_SECONDS = 0.01
_POLL_SECONDS = 0.05
FILE_TIMES = 40  # a bundle unpacks to more than it weighs
_MAX_RESULT_BYTES = 64 << 20
_MAX_SENTENCE = 4000
_ROOT = Path(__file__).resolve().parents[3]
Answer = TypeVar("Answer")
_LOCKS = {LANDLOCK: "without Landlock (Linux 5.19) the reading process sees every file that this user may read",
          SECCOMP: "without seccomp (Linux, x86-64 or arm64) only Python keeps it from sockets and new programs"}
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")


def read_in_sandbox(files: dict[str, Path], out: Path, *, data_folder: Path | None = None,
                    binding: dict[str, Any] | None = None, cpu_seconds: float = CPU_SECONDS) -> ModelDescription:
    """The description of the model, whose folder is `out` afterwards. Raises ModelError."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".importing-", dir=out.parent) as folder:
        scratch = Path(folder).resolve()
        allowed = _allowed(files, cpu_seconds)
        request = _request(files, scratch, allowed, data_folder=data_folder) | {"binding": binding or None}
        _run_child(request, scratch, allowed)
        description = _result(scratch / "result.json")
        _take(scratch / "model", out)
    return description


def look_in_sandbox(files: dict[str, Path], *, kept: KeptLook | None = None,
                    cpu_seconds: float = LOOK_CPU_SECONDS) -> Look:
    """What an upload (name → path) asks for, before it is imported. Raises ModelError.

    What is found, and what had to be unpacked or converted for it, stays in `kept`: the upload is opened once.
    """
    if kept is not None and (found := kept.look()) is not None:
        return found
    with tempfile.TemporaryDirectory(prefix=".looking-", dir=kept.place() if kept else None) as folder:
        scratch = Path(folder).resolve()
        allowed = _allowed(files, cpu_seconds)
        _run_child(_request(files, scratch, allowed) | {"look": str(scratch / "opened")}, scratch, allowed)
        look = _result(scratch / "result.json", Look.from_plain, "look")
        if kept is not None:
            kept.keep(look, scratch / "opened")
        return look


def open_in_sandbox(files: dict[str, Path], folder: Path, kept: KeptLook) -> dict[str, Path]:
    """The files as they are read, linked into `folder`: an archive unpacked, a graph converted. Raises ModelError.

    The upload itself where it needs neither, and where nothing could be kept.
    """
    if not any(one.opens for name in files for one in formats_of(name)):
        return files
    look_in_sandbox(files, kept=kept)
    return kept.opened(folder) or files


def _size(files: dict[str, Path]) -> int:
    return sum(path.stat().st_size for path in files.values() if path.is_file())


def _allowed(files: dict[str, Path], cpu_seconds: float) -> float:
    """Seconds of processor time for an upload of this size."""
    return cpu_seconds + CPU_SECONDS_A_GIGABYTE * _size(files) / 2**30


def _request(files: dict[str, Path], scratch: Path, allowed: float, *,
             data_folder: Path | None = None) -> dict[str, Any]:
    """What the child is told: what to read, where to write, and within which limits."""
    given = {name: Path(path).resolve() for name, path in files.items()}
    size = _size(given)
    data = Path(data_folder).resolve() if data_folder else None
    readable = {*given.values(), *(_files_of(data) if data else ())}
    return {
        "files": {name: str(path) for name, path in given.items()},
        "data_folder": str(data) if data else None,
        "out": str(scratch / "model"),
        "result": str(scratch / "result.json"),
        "read": sorted(map(str, readable)),
        "write": [str(folder) for folder in _writable(scratch)],
        "limits": {
            "memory_bytes": BASE_MEMORY_BYTES + MEMORY_TIMES * size,
            "cpu_seconds": math.ceil(allowed) + 10,  # the parent stops it earlier, with a sentence of its own
            "file_bytes": (64 << 20) + FILE_TIMES * size,
        },
    }


def _files_of(data: Path) -> list[Path]:
    """What a dataset is read from: its folder, whose files may be links, or a description and the files it names."""
    if data.is_dir():
        return [data, *(path.resolve() for path in data.iterdir())]
    return [data, *((data.parent / name).resolve() for name in load_description(data).file_names)]


def _writable(scratch: Path) -> list[Path]:
    """The folders the child may write; a function of its own so that a test can see what a payload would write."""
    return [scratch]


def _run_child(request: dict[str, Any], scratch: Path, cpu_seconds: float) -> None:
    """Start the child and wait. Raises ModelError if it used up its time, or was killed."""
    path = scratch / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {"HOME": str(scratch), "TMPDIR": str(scratch), "TEMP": str(scratch),
                    "PYTHONPATH": os.pathsep.join(_code()), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-s", "-m", "compression.importers.sandbox.child", str(path)]
    child = subprocess.Popen(command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True, close_fds=True)
    try:
        status = _wait(child, cpu_seconds)
    finally:
        _stop(child)
    if status != 0:
        _refuse_a_full_disk(scratch)
    if status != 0 and not (scratch / "result.json").is_file():
        reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        raise ModelError(f"The process that read the file ended abnormally ({reason}): the file is broken or made to "
                         "do harm, or needs more memory or time than its size allows. Export it again.")


def _code() -> list[str]:
    """Where the child finds our code, and the plug-ins of packages outside its Python's own folders."""
    own = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    folders = {Path(str(one.dist.locate_file(""))).resolve() for one in plug_ins()}
    return [str(_ROOT), *sorted(str(folder) for folder in folders
                                if not any(folder.is_relative_to(prefix) for prefix in own))]


def _wait(child: subprocess.Popen, cpu_seconds: float) -> int:
    """The child's exit status. Raises ModelError if it used up its processor time or stands still."""
    began = moved = time.monotonic()
    used = 0.0
    while (status := child.poll()) is None:
        now = time.monotonic()
        try:
            spent = sum(psutil.Process(child.pid).cpu_times()[:2])
        except psutil.Error:  # it ended just now
            spent = used
        if spent >= used + _PROGRESS_SECONDS:
            used, moved = spent, now
        if used > cpu_seconds or now - began > WALL_TIMES * max(cpu_seconds, IDLE_SECONDS):
            raise ModelError(f"Reading the file took more than {cpu_seconds:.0f} s of processor time and was stopped. "
                             "It is broken, or far more complex than a ranking model.")
        if now - moved > IDLE_SECONDS:
            raise ModelError(f"Reading the file made no progress for {IDLE_SECONDS:.0f} s and was stopped: the "
                             "process was suspended, or the disk doesn't answer. Try again.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
    return status


def _stop(child: subprocess.Popen) -> None:
    """End the child's whole group, and wait for it."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (OSError, AttributeError):
            child.kill()
        child.wait()


def _result(path: Path, read: Callable[[Any], Answer] = ModelDescription.model_validate,
            key: str = "description") -> Answer:
    """The child's answer, checked. Raises ModelError with the child's sentence."""
    if not path.is_file() or path.is_symlink() or path.stat().st_size > _MAX_RESULT_BYTES:
        raise ModelError("The process that read the file left no answer: the file is broken. Export it again.")
    try:
        answer = json.loads(path.read_bytes())
        _say_what_stayed_open(answer.get("closed", ()))
        if answer["ok"] is True:
            return read(answer[key])
        message = str(answer["message"])[:_MAX_SENTENCE]
    except (ValueError, KeyError, TypeError, ValidationError):
        raise ModelError("The process that read the file gave an answer that makes no sense; it was dropped.") from None
    _refuse_a_full_disk(path.parent)
    raise ModelError(message)


def _say_what_stayed_open(closed: Sequence[str]) -> None:
    """A line in the log where the kernel lacks a lock."""
    lacking = [what for lock, what in _LOCKS.items() if lock not in closed]
    if lacking:
        print(f"This system can't confine the reading of uploads fully: {'; '.join(lacking)}. "
              "See docs/security.md.", file=sys.stderr, flush=True)


def _refuse_a_full_disk(scratch: Path) -> None:
    """Blame the disk rather than the file where there was no room to read it. Raises StorageError."""
    if is_full(scratch):
        raise StorageError(f"The disk is full: the file could not be read into {scratch.parent}. Free some space, "
                           "then try again.")


def _take(made: Path, out: Path) -> None:
    """Move the model folder to its place: plain files with plain names, nothing else."""
    for path in made.iterdir():
        if path.is_symlink() or not path.is_file() or not PLAIN_NAME.fullmatch(path.name):
            raise ModelError(f"Reading the file left something that is no plain file ({path.name[:80]!r}); it was "
                             "dropped.")
    if out.exists():
        shutil.rmtree(out)
    shutil.move(str(made), str(out))
