"""What an exported file weighs: bytes on disk, packed and in memory, weights and non-zero weights."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from compression.data.dataset import Rows
from compression.measure.weights import count_weights, external_files, read_graph
from compression.spec.errors import MeasureError
from compression.spec.records import Measurement, Target
from compression.spec.runtime import RUNTIMES
from compression.spec.session import rows_of_a_call

ANSWERED_ROWS = 512  # at most
PACKED_UP_TO = 1 << 28  # bytes, about eight seconds; larger files would hold a run up
LEVEL = 6  # what web servers and package indices pack with
_CHUNK = 1 << 20


def measure_size(path: Path, rows: Rows | None = None, *, target: Target) -> list[Measurement]:
    """size_bytes, download_bytes, parameters, nonzeros, and with rows resident_bytes of the exported file.

    Memory is taken on the CPU whatever the target's device (its measurement says so), and is absent where the runtime
    has no CPU or the system no /proc/self/smaps; download_bytes is absent above PACKED_UP_TO. Raises MeasureError if
    the file can't be read or a part of it is missing.
    """
    path = Path(path)
    graph = read_graph(path)
    external = external_files(path, graph)
    on_disk = size_bytes(path, external)
    weights = count_weights(path, graph)
    measurements = [
        Measurement(metric="size_bytes", value=float(on_disk)),
        Measurement(metric="parameters", value=float(weights.parameters)),
        Measurement(metric="nonzeros", value=float(weights.nonzeros)),
    ]
    if on_disk <= PACKED_UP_TO:
        measurements.insert(1, Measurement(metric="download_bytes", value=float(packed_bytes(path, external))))
    has_cpu = "cpu" in RUNTIMES[target.runtime].devices
    if rows is not None and len(rows) and has_cpu and Path("/proc/self/smaps").exists():
        answered = min(ANSWERED_ROWS, len(rows), rows_of_a_call(rows.inputs))
        on_cpu = target.model_copy(update={"device": "cpu"})
        resident = resident_bytes(path, rows.take(np.arange(answered)), on_cpu)
        measurements.insert(1, Measurement(metric="resident_bytes", value=float(resident), n=answered,
                                           runtime=on_cpu.runtime, device=on_cpu.device, threads=on_cpu.threads))
    return measurements


def size_bytes(path: Path, external: tuple[Path, ...]) -> int:
    """Bytes of the file and of the external data it names."""
    return path.stat().st_size + sum(file.stat().st_size for file in external)


def packed_bytes(path: Path, external: tuple[Path, ...]) -> int:
    """The same, each file packed by zlib at LEVEL: repeats named once, then a Huffman code (RFC 1950, RFC 1951)."""
    return sum(map(_packed, (path, *external)))


def _packed(file: Path) -> int:
    packer, total = zlib.compressobj(LEVEL), 0
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


def resident_bytes(path: Path, rows: Rows, target: Target) -> int:
    """Memory the runtime holds after it loaded the file and answered these rows once, in a fresh process.

    Counted: growth of anonymous memory since just before the load, plus the pages of the model's own files that are
    mapped in. External data is mapped lazily, so of a large table only the pages that the rows touched count. The
    runtime's own code is left out. Raises MeasureError if the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="recpress-") as scratch:
        inputs = Path(scratch) / "inputs.npz"
        np.savez(inputs, **rows.inputs)
        command = [sys.executable, "-m", "compression.measure.resident", str(path.resolve()), str(inputs),
                   target.model_dump_json()]
        root = Path(__file__).resolve().parents[2]
        child = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)  # the job has limits
    if child.returncode != 0:
        reason = child.stderr.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        raise MeasureError(f"The memory of {path.name} could not be measured: {reason[0]}")
    return int(json.loads(child.stdout.splitlines()[-1])["resident_bytes"])
