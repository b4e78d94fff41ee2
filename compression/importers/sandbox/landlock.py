"""Landlock: from here on this process, and whatever it starts, reaches the listed paths and no others (Linux 5.19).

Rules are given to the kernel as open folders, so a link made later leads nowhere else. Denied is what the running
kernel can deny: TCP connections from version 4 of the interface on, signals to processes outside from 6 on. Version 1
can't rename from folder to folder and is not used. A confined process can't look into the memory of one outside, be it
by ptrace or by /proc/PID/mem. Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on x86-64 and arm64
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
# remove a folder or a file; make a folder, a plain file; rename between folders; no sockets, pipes or devices
_CHANGE_FOLDER = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13
_OF_FILES = 1 << 0 | _WRITE_FILE | _READ_FILE | _TRUNCATE  # rights that a rule for a single file may name
_KNOWN = {2: 14, 3: 15, 4: 15, 5: 16}  # version → rights on files it knows; 5 and later the same
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets and signals, from version 6


def version() -> int:
    """The version of Landlock that the running kernel has, if it is one we use; else 0."""
    if not sys.platform.startswith("linux"):
        return 0
    known = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    return known if known >= min(_KNOWN) else 0


def restrict_files(*, read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Leave this process what it may read and write, each with all below it; False where there is no Landlock.

    Paths that don't exist are left out. Call before any thread is started: other threads keep what they had.
    """
    known = version()
    if known == 0:
        return False
    handled = (1 << _KNOWN[min(known, max(_KNOWN))]) - 1
    attributes = struct.pack("QQQ", handled, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    length = 8 if known < 4 else 16 if known < 6 else 24
    libc = _libc()
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(length), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        reading = _READ_FILE | _READ_FOLDER
        writing = reading | _WRITE_FILE | _TRUNCATE | _CHANGE_FOLDER
        for paths, rights in ((read, reading), (write, writing)):
            for path in paths:
                if not _allow(libc, ruleset, Path(path), rights & handled):
                    return False
        return (libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3) == 0
                and libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> bool:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True  # what isn't there needs no rule
    try:
        if not path.is_dir():
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, opened)
        return libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)) == 0
    finally:
        os.close(opened)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
