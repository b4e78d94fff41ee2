"""A seccomp filter (Linux): from here on system calls on a list are refused, whatever library makes them.

Refused: sockets, new programs, new processes (threads are let through), whatever reads or steers another process,
namespaces, mounts, keys and the parts of the kernel that importers never need. Source: seccomp(2), bpf(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERRNO, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000, 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in the kernel's record of a call (little endian)
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000  # x86-64: the same calls under other numbers

# audit number; number of each call: (x86-64, arm64); None where there is none
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "socket": (41, 198), "connect": (42, 203), "socketpair": (53, 199),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "tkill": (200, 130), "setpriority": (141, 140),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "bpf": (321, 280), "io_uring_setup": (425, 425),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "memfd_create": (319, 279),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_OF_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}  # let through for this process's own number: how it aborts
_OF_ZERO = {"prlimit64": (302, 261)}  # let through for 0, which is the caller


def refuse_calls() -> bool:
    """Install the filter for this process and all its threads to come; False where that isn't possible."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _AUDIT:
        return False
    code = b"".join(struct.pack("HBBI", *line) for line in _program(machine, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, None, 0, 0) != 0:
        return False
    return libc.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(header), 0, 0) == 0


def _program(machine: str, pid: int) -> list[tuple[int, int, int, int]]:
    """The filter as (code, steps if true, steps if false, value)."""
    place = list(_AUDIT).index(machine)
    refuse = (_RETURN, 0, 0, _ERRNO | _EPERM)
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _AUDIT[machine]), refuse, (_LOAD, 0, 0, _NUMBER),
               (_AT_LEAST, 0, 1, _X32), refuse]
    for numbers in _REFUSED.values():
        if numbers[place] is not None:
            program += [(_EQUAL, 0, 1, numbers[place]), refuse]
    # clone3 hides its flags in memory, which a filter can't read: "no such call" makes libraries fall back on clone
    program += [(_EQUAL, 0, 1, _CLONE3[place]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program += _unless(_CLONE[place], (_ANY_BIT, _CLONE_THREAD), refuse)
    for calls, allowed in ((_OF_ITSELF, pid), (_OF_ZERO, 0)):
        for numbers in calls.values():
            program += _unless(numbers[place], (_EQUAL, allowed), refuse)
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _unless(number: int, test: tuple[int, int], refuse: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Refuse a call unless its first argument passes the test."""
    code, value = test
    return [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST_ARGUMENT), (code, 1, 0, value), refuse,
            (_RETURN, 0, 0, _ALLOW)]
