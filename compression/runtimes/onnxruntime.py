"""ONNX Runtime: open an exported file on CPU or CUDA, score rows, bind batches for timing.

Threads: `threads` inside an operator, operators one after another. Idle threads sleep instead of spinning, because two
sessions are timed in one process and the spinning of one would be charged to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from compression.runtimes.options import session_options
from compression.spec.errors import MeasureError
from compression.spec.records import GraphOptimization

KEY = "onnxruntime"
BATCH = 4096  # rows scored in one call, where the caller doesn't say
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

onnxruntime.set_default_logger_severity(_ERROR_ONLY)


@dataclass(frozen=True)
class Session:
    """An open file. Inputs are named arrays as in Rows.inputs: ids (N,) or (N, L), values (N,)."""

    runtime: onnxruntime.InferenceSession
    path: Path
    device: str
    threads: int
    output: str

    @property
    def providers(self) -> list[str]:
        """Execution providers that are really in use, most important first."""
        return self.runtime.get_providers()

    @property
    def input_names(self) -> list[str]:
        return [item.name for item in self.runtime.get_inputs()]

    def score(self, inputs: dict[str, np.ndarray], batch_size: int = BATCH) -> np.ndarray:
        """Scores (N,) float32, computed `batch_size` rows at a time.

        Raises MeasureError if an input is missing, an id is outside its table, or a score is not finite.
        """
        arrays = self._typed(inputs)
        n_rows = len(next(iter(arrays.values())))
        scores = np.empty(n_rows, np.float32)
        for start in range(0, n_rows, batch_size):
            batch = {name: array[start:start + batch_size] for name, array in arrays.items()}
            scores[start:start + batch_size] = self._answer(batch)
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise MeasureError(
                f"{self.path.name} gave a score that is not finite for {broken} of {n_rows} rows. "
                "Look for NaN or huge values in the weights or in the number columns."
            )
        return scores

    def bind(self, batches: list[dict[str, np.ndarray]]) -> list[Bound]:
        """Batches with inputs and outputs bound beforehand, so that a timed call does nothing but run.

        Requests lie in host memory, so on CUDA the time includes the copies there and back.
        """
        return [self._bound(self._typed(batch)) for batch in batches]

    def _bound(self, batch: dict[str, np.ndarray]) -> Bound:
        binding = self.runtime.io_binding()
        kept: list[object] = []
        for name, array in batch.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            binding.bind_ortvalue_input(name, value)
            kept.append(value)
        answer = onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(self._raw_answer(batch)))
        binding.bind_ortvalue_output(self.output, answer)
        return Bound(self.runtime, binding, (*kept, answer))

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

    def _answer(self, batch: dict[str, np.ndarray]) -> np.ndarray:
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
    """One batch bound to a session; `run()` answers it and drops the answer."""

    runtime: onnxruntime.InferenceSession
    binding: onnxruntime.IOBinding
    kept: tuple[object, ...]  # the bound memory lives as long as the binding

    def run(self) -> None:
        self.runtime.run_with_iobinding(self.binding)


def open_session(path: Path, *, device: str = "cpu", threads: int = 1,
                 graph_optimization: GraphOptimization = "all") -> Session:
    """Open an exported file. Raises MeasureError if it can't be loaded, or if CUDA was asked for and isn't there."""
    path = Path(path)
    if device not in _PROVIDERS:
        raise MeasureError(f"Device {device!r} is unknown; allowed are {', '.join(_PROVIDERS)}.")
    if device == "cuda":
        _prepare_cuda()
    options = session_options(threads=threads, graph_optimization=graph_optimization)
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        runtime = onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS[device])
    except Exception as error:  # the runtime's errors share no base class
        if device == "cuda" and "CUDA" in str(error):
            raise MeasureError(_no_cuda(path)) from None
        raise MeasureError(f"{path.name} can't be opened by ONNX Runtime: {_one_line(error)}") from None
    if device == "cuda" and runtime.get_providers()[0] != "CUDAExecutionProvider":
        raise MeasureError(_no_cuda(path))
    return Session(runtime, path, device, threads, _score_output(runtime))


def _prepare_cuda() -> None:
    """Let the CUDA libraries that pip installed be found; without them the provider falls back to CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def _score_output(runtime: onnxruntime.InferenceSession) -> str:
    names = [item.name for item in runtime.get_outputs()]
    return "score" if "score" in names else names[0]


def _no_cuda(path: Path) -> str:
    return (
        f"{path.name} was to be measured on CUDA, but ONNX Runtime has no working CUDA device on this machine. "
        "Choose the device cpu, or start a worker on a machine with an NVIDIA GPU and onnxruntime-gpu."
    )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 400 else text[:400] + " …").rstrip(".") + "."
