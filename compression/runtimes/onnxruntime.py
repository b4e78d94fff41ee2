"""ONNX Runtime: open an exported file on CPU or CUDA, score rows, bind batches for timing.

Threads: `threads` inside an operator, operators one after another. Idle threads sleep instead of spinning, because two
sessions are timed in one process and the spinning of one would be charged to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compression.runtimes.options import session_options
from compression.spec.errors import MeasureError
from compression.spec.records import GraphOptimization
from compression.spec.runtime import Runtime, runtime
from compression.spec.session import rows_of_a_call

if TYPE_CHECKING:
    import onnxruntime

_ERROR_ONLY = 3  # log severity
_PROVIDERS = {  # TF32 would multiply float32 with 10 bits: other scores than on the CPU, and faster than others measure
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}
_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}


class Session:
    """An open file; compression.spec.session says what each of these gives."""

    def __init__(self, opened: "onnxruntime.InferenceSession", path: Path) -> None:
        self._opened: onnxruntime.InferenceSession | None = opened
        self.path, self.output = path, _score_output(opened)

    @property
    def runtime(self) -> "onnxruntime.InferenceSession":
        if self._opened is None:
            raise MeasureError(f"{self.path.name} was closed; open it again to score rows.")
        return self._opened

    @property
    def providers(self) -> list[str]:
        return self.runtime.get_providers()

    @property
    def input_names(self) -> list[str]:
        return [item.name for item in self.runtime.get_inputs()]

    def close(self) -> None:
        self._opened = None

    def score(self, inputs: dict[str, np.ndarray], batch_size: int | None = None) -> np.ndarray:
        arrays = self._typed(inputs)
        batch_size = batch_size or rows_of_a_call(arrays)
        n_rows = len(next(iter(arrays.values())))
        scores = np.empty(n_rows, np.float32)
        for start in range(0, n_rows, batch_size):
            batch = {name: array[start:start + batch_size] for name, array in arrays.items()}
            scores[start:start + batch_size] = self._scores(batch)
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise MeasureError(
                f"{self.path.name} gave a score that is not finite for {broken} of {n_rows} rows. "
                "Look for NaN or huge values in the weights or in the number columns."
            )
        return scores

    def answer(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        return self._raw_answer(self._typed(inputs))

    def bind(self, batches: list[dict[str, np.ndarray]]) -> list[Bound]:
        return [self._bound(self._typed(batch)) for batch in batches]

    def _bound(self, batch: dict[str, np.ndarray]) -> Bound:
        import onnxruntime

        binding = self.runtime.io_binding()
        kept: list[object] = []
        for name, array in batch.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            binding.bind_ortvalue_input(name, value)
            kept.append(value)
        answer = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(self._raw_answer(batch)))
        binding.bind_ortvalue_output(self.output, answer)
        return Bound(self.runtime, binding, tuple(kept), answer)

    def _typed(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The file's own inputs, in its own dtypes and number of dimensions."""
        arrays = {}
        for item in self.runtime.get_inputs():
            if item.name not in inputs:
                raise MeasureError(
                    f"{self.path.name} reads an input {item.name!r} that the rows don't have; they have: "
                    f"{', '.join(sorted(inputs))}. Bind it to a column on the Models page."
                )
            if item.type not in _DTYPES:
                raise MeasureError(f"Input {item.name!r} of {self.path.name} is {item.type}; allowed are numbers.")
            array = np.asarray(inputs[item.name])
            if array.ndim == 1 and len(item.shape) == 2 and item.shape[1] == 1:
                array = array[:, None]
            arrays[item.name] = array.astype(_DTYPES[item.type], copy=False)
        return arrays

    def _raw_answer(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        try:
            return self.runtime.run([self.output], batch)[0]
        except Exception as error:  # the runtime's errors share no base class
            raise MeasureError(
                f"{self.path.name} could not score a batch: {_one_line(error)} "
                "Check that every id is inside its table and every input has the width the model was made with."
            ) from None

    def _scores(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        n_rows = len(next(iter(batch.values())))
        raw = self._raw_answer(batch)
        if raw.size != n_rows:
            raise MeasureError(
                f"Output {self.output!r} of {self.path.name} has shape {raw.shape} for {n_rows} rows; "
                "one score for each row is expected."
            )
        return raw.reshape(n_rows)


@dataclass(frozen=True)
class Bound:
    """One batch, its inputs and its answer bound to a session beforehand."""

    runtime: "onnxruntime.InferenceSession"
    binding: "onnxruntime.IOBinding"
    inputs: tuple[object, ...]  # the bound memory lives as long as the binding
    output: "onnxruntime.OrtValue"

    def run(self) -> None:
        self.runtime.run_with_iobinding(self.binding)

    @property
    def scores(self) -> np.ndarray:
        return self.output.numpy().reshape(-1)


def load() -> None:
    """Import the library, and let it log errors alone."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(_ERROR_ONLY)


def open_session(path: Path, *, device: str = "cpu", threads: int = 1,
                 graph_optimization: GraphOptimization = "all") -> Session:
    """Open an exported file. Raises MeasureError if it can't be loaded, or if CUDA was asked for and isn't there."""
    import onnxruntime

    if device == "cuda":
        _prepare_cuda()
    options = session_options(threads=threads, graph_optimization=graph_optimization)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        opened = onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS[device])
    except Exception as error:  # the runtime's errors share no base class
        if device == "cuda" and "CUDA" in str(error):
            raise MeasureError(_no_cuda(path)) from None
        raise MeasureError(f"{path.name} can't be opened by ONNX Runtime: {_one_line(error)}") from None
    if device == "cuda" and opened.get_providers()[0] != "CUDAExecutionProvider":
        raise MeasureError(_no_cuda(path))
    return Session(opened, path)


def _prepare_cuda() -> None:
    """Let the CUDA libraries that pip installed be found; without them the provider falls back to CPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def _score_output(opened: "onnxruntime.InferenceSession") -> str:
    names = [item.name for item in opened.get_outputs()]
    return "score" if "score" in names else names[0]


def _no_cuda(path: Path) -> str:
    return (
        f"{path.name} was to be measured on CUDA, but ONNX Runtime has no working CUDA device on this machine. "
        "Choose the device cpu, or start a worker on a machine with an NVIDIA GPU and onnxruntime-gpu."
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 400 else text[:400] + " …").rstrip(".") + "."


ONNX_RUNTIME = runtime(Runtime(
    key="onnxruntime",
    title="ONNX Runtime",
    devices=tuple(_PROVIDERS),
    packages=("onnxruntime", "onnxruntime-gpu"),
    load=load,
    opener=open_session,
))
