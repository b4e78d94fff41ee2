"""What a child process does to itself before it looks at an upload: fewer resources, no network, no new programs.

Linux: resource limits, a network namespace of its own where the kernel allows it, and a seccomp filter that refuses
sockets, new programs and tracing. Elsewhere: the limits the system has, and Python's sockets taken away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import struct
import sys
from typing import Any

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERRNO_EPERM = 0x7FFF0000, 0x00050001
_ARCHITECTURES = {
    # audit number; execve, execveat, socket, connect, ptrace, process_vm_writev, io_uring_setup, bpf, kexec_load
    "x86_64": (0xC000003E, (59, 322, 41, 42, 101, 311, 425, 321, 246)),
    "aarch64": (0xC00000B7, (221, 281, 198, 203, 117, 271, 425, 280, 104)),
}


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


def close_doors() -> list[str]:
    """Refuse sockets and new programs from here on; gives what was closed: "seccomp", "python"."""
    closed = ["seccomp"] if sys.platform == "linux" and _install_filter() else []

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
    return [*closed, "python"]


def _install_filter() -> bool:
    """A seccomp program: the wrong architecture or a listed call gives EPERM, everything else goes through."""
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    audit, calls = known
    load_architecture, load_call = (0x20, 0, 0, 4), (0x20, 0, 0, 0)
    program = [load_architecture, (0x15, 1, 0, audit), (0x06, 0, 0, _ERRNO_EPERM), load_call]
    program += [(0x15, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    program += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _ERRNO_EPERM)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, None, 0, 0) != 0:
        return False
    return libc.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(header), 0, 0) == 0
