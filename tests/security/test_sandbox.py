"""The sandbox keeps its promises: what a child can't do, and what becomes of one that misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compression.errors import ModelError
from compression.models.importers import import_model, sandbox
from compression.models.importers.sandbox import read_in_sandbox
from tests.security.hostile import CANARY, graph, pickled, torch_zip

pytestmark = pytest.mark.security
ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and resource limits of this kind are Linux's")


def files(folder: Path, **content: bytes) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    made = {}
    for key, data in content.items():
        name = key.replace("__", ".")
        (folder / name).write_bytes(data)
        made[name] = folder / name
    return made


def confined(code: str, **limits) -> subprocess.CompletedProcess:
    """Run code in a process that has confined itself as the importer's child does."""
    start = ("import socket, os, subprocess, ctypes\n"
             "from compression.models.importers.confine import close_doors, leave_network, limit_resources\n"
             f"limit_resources(**{({'memory_bytes': 1 << 30, 'cpu_seconds': 20, 'file_bytes': 1 << 20} | limits)!r})\n"
             "leave_network()\nclosed = close_doors()\n")
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, cwd=ROOT, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)


def test_a_sound_model_comes_through(tmp_path):
    given = files(tmp_path / "up", m__onnx=graph().SerializeToString())
    description = import_model(given, tmp_path / "model")
    assert description.architecture == "onnx" and [layer.name for layer in description.layers] == ["table"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "binding.json", "model.onnx", "vocabularies.json"]
    assert not list(tmp_path.glob(".importing-*")), "the scratch folder is gone"


def test_pickles_are_refused_in_the_sandbox_and_nothing_runs(tmp_path):
    canary = tmp_path / CANARY
    uploads = {"m__pt": torch_zip(canary), "m__safetensors": pickled(canary), "m__onnx": pickled(canary, 0)}
    for name, content in uploads.items():
        with pytest.raises(ModelError, match=r"pickle|holds no tensors|has no config\.json beside it"):
            import_model(files(tmp_path / "up", **{name: content}), tmp_path / "model")
    assert not canary.exists() and not (tmp_path / "model").exists()


def test_a_refused_upload_leaves_the_model_that_was_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("kept")
    with pytest.raises(ModelError):
        import_model(files(tmp_path / "up", m__onnx=b"nonsense"), tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == "kept"


def test_a_child_that_takes_too_long_is_stopped(tmp_path):
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"took longer than 0 s and was stopped"):
        read_in_sandbox(files(tmp_path / "up", m__onnx=graph().SerializeToString()), tmp_path / "model", seconds=0.05)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("answer", "sentence"), [
    ("{", r"gave an answer that makes no sense"),
    ('{"ok": true, "description": {"architecture": 7}}', r"gave an answer that makes no sense"),
    ('{"ok": false, "message": "No."}', r"^No\.$"),
    (None, r"left no answer"),
])
def test_the_answer_of_a_child_is_not_trusted(tmp_path, answer, sentence):
    path = tmp_path / "result.json"
    if answer is not None:
        path.write_text(answer)
    with pytest.raises(ModelError, match=sentence):
        sandbox._result(path)


def test_links_and_folders_that_a_child_leaves_are_dropped(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match=r"no plain file \('model.onnx'\); it was dropped"):
        sandbox._take(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_child_that_crashes_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    with pytest.raises(ModelError, match=r"ended abnormally \(exit status 1\)"):
        read_in_sandbox(files(tmp_path / "up", m__onnx=graph().SerializeToString()), tmp_path / "model")


def test_the_child_sees_none_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    seen = {}
    real = subprocess.Popen

    def noted(command, **options):
        seen.update(options["env"])
        return real(command, **options)

    monkeypatch.setattr(sandbox.subprocess, "Popen", noted)
    with pytest.raises(ModelError):
        import_model(files(tmp_path / "up", m__onnx=b"nonsense"), tmp_path / "model")
    assert seen and "DATABASE_URL" not in seen and seen["HOME"].startswith(str(tmp_path.resolve()))


@linux
def test_no_socket_opens_even_past_python(tmp_path):
    code = ("import json\nlibc = ctypes.CDLL(None, use_errno=True)\nnumber = libc.socket(2, 1, 0)\n"
            "try:\n    socket.socket()\n    python = 'open'\nexcept PermissionError:\n    python = 'refused'\n"
            "print(json.dumps([closed, number, ctypes.get_errno(), python]))")
    assert json.loads(confined(code).stdout) == [["seccomp", "python"], -1, 1, "refused"]


@linux
def test_no_program_starts_even_past_python():
    code = ("libc = ctypes.CDLL(None, use_errno=True)\nlibc.execl(b'/bin/echo', b'echo', b'ran', None)\n"
            "print(ctypes.get_errno())\n"
            "try:\n    subprocess.run(['/bin/echo', 'ran'])\nexcept OSError as error:\n    print(type(error).__name__)")
    assert confined(code).stdout.split() == ["1", "PermissionError"]


@linux
def test_memory_is_bounded():
    done = confined("try:\n    bytearray(1 << 31)\nexcept MemoryError:\n    print('bounded')")
    assert done.stdout.strip() == "bounded"


@linux
def test_files_are_bounded(tmp_path):
    done = confined(f"open({str(tmp_path / 'f')!r}, 'wb').write(b'x' * (3 << 20))")
    assert done.returncode != 0 and "File too large" in done.stderr


@linux
def test_time_is_bounded():
    assert confined("while True: pass", cpu_seconds=1).returncode < 0
