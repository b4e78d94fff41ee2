"""Run as a child: confine itself, read an upload, leave the model folder and result.json.

    python -P -m compression.importers.sandbox.child request.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compression.importers.sandbox.hardening import close_doors, hide_files, leave_network, limit_resources


def main(request_path: str) -> int:
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    limits = request["limits"]
    limit_resources(**limits)
    leave_network()
    closed = hide_files(read=map(Path, request["read"]), write=map(Path, request["write"]))
    result = {"ok": False, "message": "", "description": None}
    try:
        found = {"look": _look(request, closed)} if request.get("look") else {"description": _read(request, closed)}
        result |= {"ok": True, **found}
    except MemoryError:
        result["message"] = _memory_sentence(limits["memory_bytes"])
    except Exception as error:  # everything has to become a sentence here: the parent trusts nothing else
        result["message"] = _sentence(error, limits["memory_bytes"])
    Path(request["result"]).write_text(json.dumps(result | {"closed": closed}), encoding="utf-8")
    return 0


def _load() -> None:
    """Libraries and plug-ins, which are imported before the doors close."""
    import onnx  # noqa: F401
    import safetensors  # noqa: F401

    from compression.importers.format import FORMATS
    from compression.spec.runtime import RUNTIMES
    from compression.spec.task import TASKS

    for registry in (FORMATS, TASKS, RUNTIMES):
        len(registry)


def _read(request: dict, closed: list[str]) -> dict:
    _load()
    from compression.importers.reader import read_upload

    closed += close_doors()
    files = {name: Path(path) for name, path in request["files"].items()}
    data_folder = Path(request["data_folder"]) if request["data_folder"] else None
    description = read_upload(files, Path(request["out"]), data_folder=data_folder, binding=request["binding"])
    return description.model_dump(mode="json")


def _look(request: dict, closed: list[str]) -> dict:
    _load()
    from compression.importers.reader import look_at

    closed += close_doors()
    files = {name: Path(path) for name, path in request["files"].items()}
    return look_at(files, Path(request["out"]), keep=Path(request["look"])).plain()


def _sentence(error: Exception, memory_bytes: int) -> str:
    from compression.spec.errors import RecPressError

    text = " ".join(str(error).split())
    if isinstance(error, RecPressError):
        return text
    if any(sign in text for sign in ("alloc", "out of memory", "Cannot allocate", "bad_alloc")):
        return _memory_sentence(memory_bytes)
    if isinstance(error, OSError) and error.errno == 27:
        return "The model writes more than was uploaded while it is read, which no sound file does."
    return f"The file could not be read ({type(error).__name__}: {text[:300]})."


def _memory_sentence(memory_bytes: int) -> str:
    return (f"Reading the file took more than the {memory_bytes / 2**30:.1f} GB of memory that its size allows. "
            "It claims tensors that are not there, or is broken.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
