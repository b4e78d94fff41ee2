"""From exceptions and exit statuses to causes and next steps."""

import errno
import signal

import pytest

from compression.spec.errors import ExportError, StorageError
from jobs.failures import DISK_FULL, KILLED, OUT_OF_MEMORY, ended_by, explain, memory_kills


class OutOfMemoryError(RuntimeError):
    """As torch.OutOfMemoryError is named."""


def caused_by(cause: BaseException) -> BaseException:
    try:
        raise StorageError("The disk that holds it is full.") from cause
    except StorageError as error:
        return error


@pytest.mark.parametrize("error", [
    MemoryError(),
    OutOfMemoryError("CUDA: tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    caused_by(MemoryError()),
])
def test_running_out_of_memory_is_told_as_that(error):
    assert explain(error).kind == OUT_OF_MEMORY


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), caused_by(OSError(errno.EDQUOT, "quota"))])
def test_a_full_disk_is_told_as_that(error):
    assert explain(error).kind == DISK_FULL


def test_our_own_errors_keep_their_sentence():
    failure = explain(ExportError("Parity is off by 0.2."))
    assert (failure.kind, failure.message) == ("ExportError", "Parity is off by 0.2.")
    assert failure.next_step


def test_a_kill_while_the_kernel_killed_for_memory_is_told_as_that_and_not_tried_again():
    failure, retry = ended_by(-signal.SIGKILL, memory_kills=1)
    assert (failure.kind, retry) == (OUT_OF_MEMORY, False)


def test_another_kill_is_tried_again():
    failure, retry = ended_by(-signal.SIGKILL, memory_kills=0)
    assert (failure.kind, retry) == (KILLED, True)
    assert "memory ran out" in failure.message
    assert ended_by(1, memory_kills=0)[1]


def test_the_kernels_count_is_read_where_there_is_one():
    assert memory_kills() >= 0
