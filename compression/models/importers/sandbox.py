"""Read an upload in a child process that can do little, and take nothing from it but checked files.

The child gets a scratch folder, a clean environment, limits that follow from the size of the upload, and a clock.
Whatever becomes of it (refusal, crash, endless loop, bomb) is a ModelError with a sentence; this process never parses
the upload.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compression.errors import ModelError
from compression.models.importers.archive import PLAIN_NAME
from compression.models.importers.look import Look
from compression.records import ModelDescription

BASE_MEMORY_BYTES = 3 << 30  # torch and ONNX Runtime themselves, with room for graphs
MEMORY_TIMES = 5  # bytes of memory for a byte of the upload: read, mapped, exported, tried
SECONDS, LOOK_SECONDS = 120.0, 60.0
SECONDS_A_GIGABYTE = 60.0
FILE_TIMES = 40  # a bundle unpacks to more than it weighs
_MAX_RESULT_BYTES = 64 << 20
_MAX_SENTENCE = 4000
_ROOT = Path(__file__).resolve().parents[3]
Answer = TypeVar("Answer")
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")


def read_in_sandbox(files: dict[str, Path], out: Path, *, data_folder: Path | None = None,
                    binding: dict[str, Any] | None = None, seconds: float | None = None) -> ModelDescription:
    """The description of the model, whose folder is `out` afterwards. Raises ModelError."""
    out = Path(out)
    size = sum(path.stat().st_size for path in files.values() if path.is_file())
    allowed = seconds if seconds is not None else SECONDS + SECONDS_A_GIGABYTE * size / 2**30
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".importing-", dir=out.parent) as folder:
        scratch = Path(folder).resolve()
        request = {
            "files": {name: str(Path(path).resolve()) for name, path in files.items()},
            "out": str(scratch / "model"),
            "result": str(scratch / "result.json"),
            "data_folder": str(Path(data_folder).resolve()) if data_folder else None,
            "binding": binding or None,
            "look": False,
            "limits": _limits(size, allowed),
        }
        _run_child(request, scratch, allowed)
        description = _result(scratch / "result.json")
        _take(scratch / "model", out)
    return description


def look_in_sandbox(files: dict[str, Path], *, seconds: float = LOOK_SECONDS) -> Look:
    """What an upload (name → path) asks for, before it is imported. Raises ModelError."""
    size = sum(path.stat().st_size for path in files.values() if path.is_file())
    allowed = seconds + SECONDS_A_GIGABYTE * size / 2**30
    with tempfile.TemporaryDirectory(prefix="looking-") as folder:
        scratch = Path(folder).resolve()
        request = {"files": {name: str(Path(path).resolve()) for name, path in files.items()}, "look": True,
                   "out": str(scratch / "model"), "result": str(scratch / "result.json"),
                   "limits": _limits(size, allowed)}
        _run_child(request, scratch, allowed)
        return _result(scratch / "result.json", Look.from_plain, "look")


def _limits(size: int, seconds: float) -> dict[str, int]:
    return {"memory_bytes": BASE_MEMORY_BYTES + MEMORY_TIMES * size, "cpu_seconds": int(seconds) + 10,
            "file_bytes": (64 << 20) + FILE_TIMES * size}


def _run_child(request: dict[str, Any], scratch: Path, seconds: float) -> None:
    """Start the child and wait. Raises ModelError if it is not done in time, or was killed."""
    path = scratch / "request.json"
    path.write_text(json.dumps(request), encoding="utf-8")
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {"HOME": str(scratch), "TMPDIR": str(scratch), "TEMP": str(scratch), "PYTHONPATH": str(_ROOT),
                    "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                    "LANG": "C.UTF-8", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-s", "-m", "compression.models.importers.child", str(path)]
    child = subprocess.Popen(command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True, close_fds=True)
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        raise ModelError(f"Reading the file took longer than {seconds:.0f} s and was stopped. It is broken, or far "
                         "more complex than a ranking model.") from None
    finally:
        _stop(child)
    if status != 0 and not (scratch / "result.json").is_file():
        reason = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        raise ModelError(f"The process that read the file ended abnormally ({reason}): the file is broken or made to "
                         "do harm, or needs more memory or time than its size allows. Export it again.")


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
        if answer["ok"] is True:
            return read(answer[key])
        message = str(answer["message"])[:_MAX_SENTENCE]
    except (ValueError, KeyError, TypeError, ValidationError):
        raise ModelError("The process that read the file gave an answer that makes no sense; it was dropped.") from None
    raise ModelError(message)


def _take(made: Path, out: Path) -> None:
    """Move the model folder to its place: plain files with plain names, nothing else."""
    for path in made.iterdir():
        if path.is_symlink() or not path.is_file() or not PLAIN_NAME.fullmatch(path.name):
            raise ModelError(f"Reading the file left something that is no plain file ({path.name[:80]!r}); it was "
                             "dropped.")
    if out.exists():
        shutil.rmtree(out)
    shutil.move(str(made), str(out))
