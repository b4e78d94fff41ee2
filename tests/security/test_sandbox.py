"""The sandbox keeps its promises: what a child can't do, and what becomes of one that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from compression.importers import import_model
from compression.importers.sandbox import landlock
from compression.importers.sandbox import process as sandbox
from compression.importers.sandbox.process import read_in_sandbox
from compression.spec.disk import is_disk_full
from compression.spec.errors import ModelError
from tests.security.hostile import CANARY, graph, pickled, torch_zip
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.security
ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="suspends processes by signals")
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
             "from compression.importers.sandbox.hardening import close_doors, leave_network, limit_resources\n"
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


def test_pickles_are_refused_in_the_sandbox_and_nothing_runs(tmp_path, monkeypatch):
    canary = tmp_path / CANARY
    # a payload that ran could write its canary: what is shown is that it does not run
    monkeypatch.setattr(sandbox, "_writable", lambda scratch: [scratch, tmp_path])
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


def test_a_child_that_uses_up_its_processor_time_is_stopped(tmp_path):
    with pytest.raises(ModelError, match=r"took more than 0 s of processor time and was stopped"):
        read_in_sandbox(files(tmp_path / "up", m__onnx=graph().SerializeToString()), tmp_path / "model",
                        cpu_seconds=0.05)


@posix
def test_a_sound_file_is_read_however_long_a_busy_machine_takes(tmp_path, monkeypatch):
    allowed, away = 15.0, 16.0
    real = subprocess.Popen

    def kept_off_the_processor(command, **options):
        child = real(command, **options)
        os.kill(child.pid, signal.SIGSTOP)
        threading.Timer(away, os.kill, (child.pid, signal.SIGCONT)).start()
        return child

    monkeypatch.setattr(sandbox.subprocess, "Popen", kept_off_the_processor)
    given = files(tmp_path / "up", m__onnx=graph().SerializeToString())
    assert read_in_sandbox(given, tmp_path / "model", cpu_seconds=allowed).architecture == "onnx"


@posix
def test_a_child_that_stands_still_is_stopped_and_the_file_is_not_called_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "IDLE_SECONDS", 1.0)
    started = []
    real = subprocess.Popen

    def suspended(command, **options):
        child = real(command, **options)
        os.kill(child.pid, signal.SIGSTOP)
        started.append(child)
        return child

    monkeypatch.setattr(sandbox.subprocess, "Popen", suspended)
    with pytest.raises(ModelError, match=r"made no progress for 1 s and was stopped: .* Try again\.") as said:
        read_in_sandbox(files(tmp_path / "up", m__onnx=graph().SerializeToString()), tmp_path / "model")
    assert "broken" not in str(said.value)
    assert [child.returncode for child in started] == [-signal.SIGKILL]


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


@pytest.mark.parametrize("left", [8 << 10, 16 << 10])
def test_a_full_disk_is_not_blamed_on_the_file(tmp_path, left):
    given = files(tmp_path / "up", m__onnx=graph().SerializeToString())
    with small_disk(tmp_path / "disk", "1m") as disk:
        fill(disk, leave=left)
        with pytest.raises(Exception) as caught:
            import_model(given, disk / "model")
        assert is_disk_full(caught.value), caught.value


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


landlocked = pytest.mark.skipif(landlock.version() == 0, reason="the kernel has no Landlock")


def child_of(monkeypatch, code: str) -> None:
    """The importer's real child runs this code, once it is confined, in place of reading the upload."""
    real = subprocess.Popen

    def replaced(command, **options):
        start = ("import sys\nfrom compression.importers import reader\n"
                 "from compression.importers.sandbox import child\n"
                 f"def probe(files, out, **options):\n    from compression.spec.errors import ModelError\n"
                 f"    import os, json\n    scratch = out.parent\n{textwrap.indent(code, '    ')}\n"
                 "    raise ModelError(json.dumps(seen))\n"
                 "reader.read_upload = probe\nsys.exit(child.main(sys.argv[1]))")
        return real([*command[:3], "-c", start, command[-1]], **options)

    monkeypatch.setattr(sandbox.subprocess, "Popen", replaced)


def seen_by_child(tmp_path, monkeypatch, code: str, **options):
    child_of(monkeypatch, code)
    with pytest.raises(ModelError) as said:
        read_in_sandbox(files(tmp_path / "up", m__onnx=b"upload"), tmp_path / "model", **options)
    return json.loads(str(said.value))


TRY = """
def attempt(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
"""


@landlocked
def test_the_importers_child_sees_its_upload_and_its_scratch_folder_and_no_other_file(tmp_path, monkeypatch):
    secret = tmp_path / "home" / "recpress.db"
    secret.parent.mkdir()
    secret.write_text("secret")
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "neighbour").write_text("of somebody else")
    seen = seen_by_child(tmp_path, monkeypatch, TRY + f"""
seen = [attempt(lambda: open(files['m.onnx']).read()),
        attempt(lambda: open({str(secret)!r}).read()),
        attempt(lambda: os.listdir({str(secret.parent)!r})),
        attempt(lambda: open(files['m.onnx'].with_name('neighbour')).read()),
        attempt(lambda: open('/proc/self/root' + {str(secret)!r}).read()),
        attempt(lambda: open('/etc/passwd').read()),
        attempt(lambda: open({str(secret)!r}, 'w').write('gone')),
        attempt(lambda: os.unlink({str(secret)!r})),
        attempt(lambda: open(files['m.onnx'], 'w').write('changed')),
        attempt(lambda: open({str(tmp_path / CANARY)!r}, 'w').write('made')),
        attempt(lambda: (scratch / 'made').write_text('here'))]
""")
    assert seen == ["upload", *["PermissionError"] * 9, 4]
    assert secret.read_text() == "secret" and (tmp_path / "up" / "m.onnx").read_text() == "upload"
    assert not (tmp_path / CANARY).exists()


@landlocked
def test_the_importers_child_reads_the_dataset_it_is_given_through_links_too(tmp_path, monkeypatch):
    stored = tmp_path / "files" / "ab12"
    stored.parent.mkdir()
    stored.write_text("rows")
    data = tmp_path / "data"
    data.mkdir()
    (data / "data.yaml").write_text("described")
    (data / "clicks.csv").symlink_to(stored)
    seen = seen_by_child(tmp_path, monkeypatch, "folder = options['data_folder']\n"
                         "seen = [(folder / name).read_text() for name in ('data.yaml', 'clicks.csv')]",
                         data_folder=data)
    assert seen == ["described", "rows"]


@landlocked
def test_of_a_description_with_another_name_the_child_reads_the_files_it_names(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    (data / "other.yaml").write_text("version: 1\nname: d\nfiles: {all: clicks.csv}\nformat: csv\n"
                                     "label: {column: y}\ncolumns: [{name: y, role: label}, {name: u, role: user}]\n"
                                     "split: {kind: random}\n")
    (data / "clicks.csv").write_text("rows")
    (data / "neighbour.csv").write_text("of another dataset")
    seen = seen_by_child(tmp_path, monkeypatch, TRY + """
folder = options['data_folder'].parent
seen = [attempt(lambda: (folder / name).read_text()[:4]) for name in ('other.yaml', 'clicks.csv', 'neighbour.csv')]
""", data_folder=data / "other.yaml")
    assert seen == ["vers", "rows", "PermissionError"]


@linux
def test_the_importers_child_starts_no_process_and_reads_no_others_memory(tmp_path, monkeypatch):
    """By system call, past Python: fork, clone, vfork, reading and writing the parent's memory, signals to it."""
    seen = seen_by_child(tmp_path, monkeypatch, f"""
import ctypes, platform, threading
libc = ctypes.CDLL(None, use_errno=True)
clone, kill, tgkill, read_memory, write_memory, ptrace, pidfd = (
    (56, 62, 234, 310, 311, 101, 434) if platform.machine() == 'x86_64' else (220, 129, 131, 270, 271, 117, 434))
parent = {os.getpid()}

def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
    if result == 0 and number == clone:
        os._exit(7)
    return [result, ctypes.get_errno()]

ran = []
thread = threading.Thread(target=lambda: ran.append(1))
thread.start(); thread.join()
seen = [call(clone, 17, 0, 0, 0, 0), call(kill, parent, 0), call(tgkill, parent, parent, 0),
        call(read_memory, parent, 0, 0, 0, 0, 0), call(write_memory, parent, 0, 0, 0, 0, 0),
        call(ptrace, 16, parent, 0, 0), call(pidfd, parent, 0), call(kill, os.getpid(), 0)[0], ran]
""")
    assert seen == [*[[-1, 1]] * 7, 0, [1]]


@landlocked
def test_the_memory_files_of_the_parent_stay_closed(tmp_path, monkeypatch):
    seen = seen_by_child(tmp_path, monkeypatch, TRY + f"""
seen = [attempt(lambda: open('/proc/{os.getpid()}/mem', 'rb').read(0)),
        attempt(lambda: open('/proc/{os.getpid()}/environ', 'rb').read(9).decode())]
""")
    assert seen == ["PermissionError", "PermissionError"]


@linux
def test_calls_under_other_numbers_are_refused_too():
    """x86-64 knows most calls a second time, for programs with short pointers."""
    code = ("import platform\nif platform.machine() == 'x86_64':\n    libc = ctypes.CDLL(None, use_errno=True)\n"
            "    print(libc.syscall(0x40000000 + 39), ctypes.get_errno())\nelse:\n    print(-1, 1)")
    assert confined(code).stdout.split() == ["-1", "1"]


def test_what_the_kernel_lacks_is_said_in_the_log(tmp_path, capfd):
    path = tmp_path / "result.json"
    for closed, said in ((["landlock", "seccomp", "python"], ()), (["seccomp", "python"], ("without Landlock",)),
                         (["python"], ("without Landlock", "without seccomp"))):
        path.write_text(json.dumps({"ok": False, "message": "No.", "closed": closed}))
        with pytest.raises(ModelError, match=r"^No\.$"):
            sandbox._result(path)
        log = capfd.readouterr().err
        assert [word for word in ("without Landlock", "without seccomp") if word in log] == list(said)


def test_the_child_confines_itself_in_every_way_before_it_reads(tmp_path, monkeypatch):
    from compression.importers.sandbox import child

    called = []
    monkeypatch.setattr(child, "limit_resources", lambda **limits: called.append(("limits", limits)))
    monkeypatch.setattr(child, "leave_network", lambda: called.append(("network",)))
    monkeypatch.setattr(child, "hide_files", lambda *, read, write: (
        called.append(("files", list(read), list(write))), ["hidden"])[1])
    monkeypatch.setattr(child, "close_doors", lambda: (called.append(("doors",)), ["closed"])[1])
    upload, out, limits = files(tmp_path / "up", m__onnx=b"nonsense"), tmp_path / "out", {"memory_bytes": 1, "more": 2}
    request = {"limits": limits, "read": [str(tmp_path / "up")], "write": [str(out)], "look": str(tmp_path / "kept"),
               "files": {name: str(path) for name, path in upload.items()}, "out": str(out),
               "result": str(tmp_path / "result.json")}
    (tmp_path / "request.json").write_text(json.dumps(request))
    assert child.main(str(tmp_path / "request.json")) == 0
    assert called == [("limits", limits), ("network",), ("files", [tmp_path / "up"], [out]), ("doors",)]
    assert json.loads((tmp_path / "result.json").read_text())["closed"] == ["hidden", "closed"]


@linux
def test_open_files_are_bounded_and_no_core_is_dumped():
    code = ("import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0], "
            "resource.getrlimit(resource.RLIMIT_CORE))")
    assert confined(code, open_files=77).stdout.strip() == "77 (0, 0)"
