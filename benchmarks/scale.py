"""Rows quantised by streaming: a table far larger than the memory used, and its time beside copying the file.

    python -m benchmarks.scale [--rows 10000000] [--dim 64] [--folder FOLDER]

Writes a model with one table of random rows, quantises the file in a process of its own whose peak memory is
read from the system, copies the same file, checks rows of the result through ONNX Runtime, and removes the files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks import report

CHECKED_ROWS = 4096
CHUNK_ROWS = 65_536
REPEATS = 3
GIGABYTE = 1e9


def write_model(folder: Path, n_rows: int, dim: int) -> Path:
    """model.onnx with a table (n_rows, dim) in external data: normal rows whose lengths differ, as trained ones do."""
    random = np.random.default_rng(0)
    with (folder / "model.onnx.data").open("wb") as file:
        for start in range(0, n_rows, CHUNK_ROWS):
            n = min(CHUNK_ROWS, n_rows - start)
            lengths = np.exp(random.standard_normal((n, 1), dtype=np.float32))
            file.write((random.standard_normal((n, dim), dtype=np.float32) * (0.05 * lengths)).tobytes())
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[n_rows, dim],
                        data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "model.onnx.data"), ("offset", "0"), ("length", str(4 * n_rows * dim))):
        table.external_data.add(key=key, value=value)
    graph = helper.make_graph([helper.make_node("Gather", ["table", "ids"], ["rows"])], "model",
                              [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
                              [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", dim])], [table])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def memory_bytes(kind: str) -> int:
    """RssAnon, RssFile or VmHWM of this process, from the system."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind + ":"))
    return int(line.split()[1]) * 1024


class Watched:
    """The peak of anonymous memory while a block runs, sampled every 10 ms: the system keeps no peak of it alone."""

    def __enter__(self) -> Watched:
        self.peak, self.done = memory_bytes("RssAnon"), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, memory_bytes("RssAnon"))

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, memory_bytes("RssAnon"))


def quantize_and_tell(path: Path, target: Path, clipping: str) -> None:
    """In the child: quantise, and print seconds and memory as JSON."""
    import torch

    from compression.export.stream import quantize_file

    torch.set_num_threads(1)
    idle = memory_bytes("RssAnon")
    with Watched() as memory:
        start = time.perf_counter()
        streamed = quantize_file(path, target, clipping=clipping)
        sync(streamed.files[1])
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "anonymous": memory.peak, "idle": idle, "resident": memory_bytes("VmHWM"),
                      "before": streamed.bytes_before, "after": streamed.bytes_after}))


def sync(path: Path) -> None:
    """Wait until the file is on the disk: only then are two ways of writing comparable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def measure(path: Path, target: Path, clipping: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--child", str(path), str(target), clipping]
    answer = subprocess.run(command, check=True, capture_output=True, text=True,
                            cwd=Path(__file__).resolve().parents[1])
    return json.loads(answer.stdout.splitlines()[-1])


def copy_seconds(path: Path, target: Path) -> float:
    """Read and write every byte, as a copy between disks does (a copy that only links blocks would take no time)."""
    start = time.perf_counter()
    with path.open("rb") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 22)
    sync(target)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def largest_error(path: Path, target: Path, n_rows: int, dim: int) -> float:
    """Over some rows: the largest difference in half steps of its row; 1 if every code is the nearest."""
    import onnxruntime

    ids = np.random.default_rng(1).integers(0, n_rows, CHECKED_ROWS)
    rows = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"]).run(None, {"ids": ids})[0]
    exact = np.memmap(path.with_name("model.onnx.data"), np.float32, "r", shape=(n_rows, dim))[ids]
    step = np.abs(exact).max(1, keepdims=True) / 127
    return float((np.abs(rows - exact) / (step / 2)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=None, help="where the files are written, and removed again")
    parser.add_argument("--child", nargs=3, metavar=("MODEL", "TARGET", "CLIPPING"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        quantize_and_tell(Path(options.child[0]), Path(options.child[1]), options.child[2])
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="recpress-scale-") as scratch:
        body = compare(Path(scratch), options.rows, options.dim)
    report.write("scale", f"Streaming a table of {options.rows:,} × {options.dim}", body,
                 command=f"python -m benchmarks.scale --rows {options.rows} --dim {options.dim}")


def compare(folder: Path, n_rows: int, dim: int) -> str:
    """Copying and quantising in turn; the table of medians."""
    path = write_model(folder, n_rows, dim)
    copies: list[float] = []
    runs: dict[str, list[dict[str, float]]] = {"none": [], "search": []}
    errors = {}
    for turn in range(REPEATS):
        copies.append(copy_seconds(path.with_name("model.onnx.data"), folder / "copy.data"))
        for clipping, found in runs.items():
            if clipping == "search" and turn:
                continue  # many times slower, so once is enough
            target = folder / clipping / "model.onnx"
            found.append(measure(path, target, clipping))
            errors[clipping] = largest_error(path, target, n_rows, dim)
            shutil.rmtree(target.parent)
    copy = float(np.median(copies))
    rows = [["copy the file", f"{4 * n_rows * dim / GIGABYTE:.2f} GB", f"{copy:.1f} s", "1", None, None]]
    for clipping, found in runs.items():
        seconds = float(np.median([one["seconds"] for one in found]))
        rows.append([f"int8 rows, clipping {clipping}", f"{found[0]['after'] / GIGABYTE:.2f} GB", f"{seconds:.1f} s",
                     f"{seconds / copy:.2f}", f"{max(one['anonymous'] for one in found) / GIGABYTE:.2f} GB",
                     f"{errors[clipping]:.3f}"])
    idle = runs["none"][0]["idle"] / GIGABYTE
    return report.table(["What", "Written", "Time", "× copy", "Peak anonymous memory", "Largest error"], rows) + (
        f"\n\nOne thread; medians of {REPEATS} turns (clipping search: one). Both ways end when the bytes are on the "
        f"disk. Of the memory, {idle:.2f} GB is Python with torch before it starts. The largest error of "
        f"{CHECKED_ROWS:,} rows read back through ONNX Runtime is in half steps of a row (largest value / 127): "
        "without clipping about 1, with a searched scale more where a value is cut so that the others gain.")


if __name__ == "__main__":
    main()
