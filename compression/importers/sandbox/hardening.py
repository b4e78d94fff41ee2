"""What a child process does to itself before it looks at an upload: less memory, few files, no network, no programs.

    limit_resources(memory_bytes=…, cpu_seconds=…, file_bytes=…)
    leave_network()
    closed = hide_files(read=[upload], write=[scratch])   # Landlock
    …                                                     # libraries are imported
    closed += close_doors()                               # seccomp; Python's sockets and processes

Linux: resource limits, a network namespace of its own where the kernel allows it, Landlock where the kernel has it,
and a seccomp filter. Elsewhere: the limits the system has, and Python's sockets and processes taken away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compression.importers.sandbox.landlock import restrict_files
from compression.importers.sandbox.seccomp import refuse_calls

LANDLOCK, SECCOMP, PYTHON = "landlock", "seccomp", "python"
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_PACKAGE = Path(__file__).resolve().parents[2]
# what Python and the libraries read of the system: themselves, time zones, and what the machine is
_SYSTEM = ("/usr", "/lib", "/lib64", "/opt", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo",
           "/proc/meminfo", "/proc/sys/vm", "/sys/devices/system", "/dev/urandom", "/dev/random", "/dev/zero")
_SINKS = ("/dev/null",)


def limit_resources(*, memory_bytes: int, cpu_seconds: int, file_bytes: int, open_files: int = 256) -> None:
    """Bound memory (private writable pages), CPU time, file size and open files of this process; no core dumps."""
    try:
        import resource
    except ImportError:  # Windows has no limits of this kind; the parent's clock remains
        return
    memory = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    wanted = {memory: memory_bytes, resource.RLIMIT_CPU: cpu_seconds, resource.RLIMIT_FSIZE: file_bytes,
              resource.RLIMIT_NOFILE: open_files, resource.RLIMIT_CORE: 0}
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is already there
            resource.setrlimit(kind, (value, value))


def leave_network() -> None:
    """Move into an empty network namespace where the kernel lets us. Call before any thread is started."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_NET) != 0:
            libc.unshare(_NEW_USER | _NEW_NET)


def hide_files(*, read: Iterable[Path], write: Iterable[Path]) -> list[str]:
    """Leave the given paths, the code and the system's libraries; everything else can't be opened any more.

    Gives ["landlock"], or [] where the kernel has none. Call before libraries start threads, which would be left out.
    """
    code = [_PACKAGE, *map(Path, _code_folders())]
    system = [Path(path) for path in _SYSTEM]
    sinks = [Path(path) for path in _SINKS]
    return [LANDLOCK] if restrict_files(read=[*code, *system, *read], write=[*sinks, *write]) else []


def _code_folders() -> set[str]:
    """Where Python looks for code, less the folder our own packages stand in: the home folder may be in it."""
    places = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path,
              *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)}
    return {os.path.realpath(place) for place in places if place} - {str(_PACKAGE.parent)}


def close_doors() -> list[str]:
    """Refuse sockets, new programs and new processes from here on; gives what was closed: "seccomp", "python"."""
    closed = [SECCOMP] if refuse_calls() else []

    def refused(*arguments: Any, **options: Any) -> Any:
        raise PermissionError("an importer opens no connection and starts no program")

    class Refused(socket.socket):  # a class, because libraries derive from it
        def __init__(self, *arguments: Any, **options: Any) -> None:
            refused()

    socket.socket = Refused
    for owner, names in ((socket, ("create_connection", "socketpair")),
                         (os, ("system", "popen", "fork", "execv", "execve", "posix_spawn", "posix_spawnp"))):
        for name in names:
            if hasattr(owner, name):
                setattr(owner, name, refused)
    return [*closed, PYTHON]
