"""Runtimes: what can open an exported file and answer requests with it.

ONNX Runtime (CPU and CUDA) now; TensorRT, TVM, OpenVINO move in as further entries. Importing this loads none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compression.spec.records import GraphOptimization

if TYPE_CHECKING:
    from compression.runtimes.onnxruntime import Session


@dataclass(frozen=True)
class Runtime:
    """A runtime: `open(path, *, device, threads, graph_optimization)` gives a session, or raises MeasureError.

    No option has a default: Target.session has them all, so that none is left out.
    """

    key: str
    title: str
    devices: tuple[str, ...]
    open: Callable[..., "Session"]


def _open_onnxruntime(path: Path, *, device: str, threads: int, graph_optimization: GraphOptimization) -> "Session":
    from compression.runtimes.onnxruntime import open_session

    return open_session(path, device=device, threads=threads, graph_optimization=graph_optimization)


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime("onnxruntime", "ONNX Runtime", ("cpu", "cuda"), _open_onnxruntime),
}
