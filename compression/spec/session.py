"""A session: an exported file that is open and answers requests. What every runtime gives, and all that anyone asks.

Inputs are named arrays as in Rows.inputs: ids (N,) or (N, L), values (N,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]

BATCH = 4096  # rows scored in one call at most, where the caller doesn't say
PLACES = 8 * BATCH  # of lists and wide inputs in one call: what a model holds of a row grows with these


def rows_of_a_call(inputs: "Inputs") -> int:
    """Rows to score in one call, 1 to BATCH: the fewer, the more places a row has. An open file tells nothing else."""
    places = sum(array.shape[1] for array in inputs.values() if array.ndim > 1)
    return max(1, min(BATCH, PLACES // max(1, places)))


class Bound(Protocol):
    """One request that is ready: a timed `run` does nothing but answer it."""

    def run(self) -> None:
        """Answer the request."""

    @property
    def scores(self) -> "np.ndarray":
        """(N,) of the last run."""


class Session(Protocol):
    """An open file. Raises MeasureError for whatever it can't answer, and after `close`."""

    @property
    def providers(self) -> list[str]:
        """What really runs the file, most important first, by the runtime's own names."""

    @property
    def input_names(self) -> list[str]:
        """The inputs that the file asks for."""

    def score(self, inputs: "Inputs", batch_size: int | None = None) -> "np.ndarray":
        """Scores (N,) float32, computed `batch_size` rows at a time; without one, `rows_of_a_call`.

        Raises MeasureError if an input is missing, an id is outside its table, or a score is not finite.
        """

    def answer(self, inputs: "Inputs") -> "np.ndarray":
        """The output for one batch as the file gives it, finite or not, a score or a vector for each row."""

    def bind(self, batches: "list[Inputs]") -> list[Bound]:
        """The batches as requests that are ready. Requests lie in host memory: on a GPU, time includes the copies."""

    def close(self) -> None:
        """Release what the file holds; closing twice is fine."""
