"""The contract of a runtime: an exported file opened with it scores as torch does, and says what it can't answer.

    class TestMine(RuntimeContract):
        key = "mine"
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from compression.export.onnx import export_onnx
from compression.models import zoo
from compression.spec.errors import MeasureError
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES, Runtime
from compression.spec.session import Session
from compression.spec.signature import Input, Signature

TOLERANCE = 1e-4  # of a probability
ROWS = 11
USERS = 6
SIGNATURE = Signature(inputs=(
    Input(name="user", kind="category", column="user", cardinality=USERS),
    Input(name="genres", kind="multi", column="genres", cardinality=5, max_length=3),
    Input(name="age", kind="number", column="age", dtype="float32"),
))


def rows(n_rows: int = ROWS) -> dict[str, np.ndarray]:
    """Rows of every kind of input, ids from the first row of each table to its last."""
    random = np.random.default_rng(0)
    return {"user": np.arange(n_rows) % USERS, "genres": random.integers(0, 5, (n_rows, 3)),
            "age": random.normal(size=n_rows).astype(np.float32)}


def model() -> torch.nn.Module:
    config = {"embedding_dim": 4, "n_layers": 2, "width": 8, "batch_norm": True}
    return zoo.build("deepfm", SIGNATURE, config, seed=0).eval()


def expected() -> np.ndarray:
    with torch.no_grad():
        return torch.sigmoid(model()({name: torch.from_numpy(array) for name, array in rows().items()})).numpy()


class RuntimeContract:
    """What holds for every runtime, on every device that it names and this machine has."""

    key: str

    @pytest.fixture
    def runtime(self) -> Runtime:
        return RUNTIMES[self.key]

    @pytest.fixture(scope="class")
    @classmethod
    def file(cls, tmp_path_factory) -> Path:
        return export_onnx(model(), SIGNATURE, tmp_path_factory.mktemp("exported") / "model.onnx").path

    @pytest.fixture(params=["cpu", "cuda"])
    def target(self, request, runtime: Runtime) -> Target:
        if request.param not in runtime.devices:
            pytest.skip(f"{runtime.title} doesn't run on {request.param}")
        return Target(device=request.param, runtime=runtime.key)

    @pytest.fixture
    def session(self, runtime: Runtime, file: Path, target: Target) -> Iterator[Session]:
        try:
            opened = runtime.open(file, **target.session)
        except MeasureError:
            if target.device == "cpu":
                raise
            pytest.skip("no such device here, and the runtime says so")
        with closing(opened):
            yield opened

    def test_it_says_what_it_is(self, runtime):
        assert runtime.key == self.key and runtime.title and runtime.packages and runtime.version
        assert runtime.devices and set(runtime.devices) <= {"cpu", "cuda"}

    @pytest.mark.parametrize("batch_size", [1, 4, ROWS, 4096])
    def test_scores_are_those_of_torch_for_any_batch_size(self, session, batch_size):
        scores = session.score(rows(), batch_size=batch_size)
        assert scores.dtype == np.float32 and scores.shape == (ROWS,)
        np.testing.assert_allclose(scores, expected(), atol=TOLERANCE)

    def test_no_rows_give_no_scores(self, session):
        assert session.score({name: array[:0] for name, array in rows().items()}).shape == (0,)

    def test_inputs_that_the_file_does_not_ask_for_are_left_out(self, session):
        assert sorted(session.input_names) == ["age", "genres", "user"]
        scores = session.score(rows() | {"other": np.zeros(ROWS)})
        np.testing.assert_allclose(scores, expected(), atol=TOLERANCE)

    def test_other_numbers_are_read_as_the_file_wants_them(self, session):
        wide = {name: array.astype(np.float64 if array.dtype == np.float32 else np.int32)
                for name, array in rows().items()}
        np.testing.assert_allclose(session.score(wide), expected(), atol=TOLERANCE)

    def test_an_answer_is_the_output_itself(self, session):
        answer = session.answer(rows())
        assert answer.shape[0] == ROWS
        np.testing.assert_allclose(answer.reshape(-1), expected(), atol=TOLERANCE)

    def test_bound_requests_answer_the_same_again_and_again(self, session):
        parts = [{name: array[part] for name, array in rows().items()} for part in (slice(0, 4), slice(4, 5))]
        first, second = session.bind(parts)
        for _ in range(2):
            first.run()
            second.run()
            np.testing.assert_allclose(first.scores, expected()[:4], atol=TOLERANCE)
            np.testing.assert_allclose(second.scores, expected()[4:5], atol=TOLERANCE)

    def test_the_device_that_runs_is_the_one_that_was_asked_for(self, session, target):
        assert session.providers and ("cuda" in session.providers[0].lower()) == (target.device == "cuda")

    def test_a_missing_input_is_named(self, session):
        inputs = {name: array for name, array in rows().items() if name != "genres"}
        with pytest.raises(MeasureError, match=r"'genres'.*age.*user"):
            session.score(inputs)

    def test_an_id_beyond_its_table_is_an_error(self, session, target):
        if target.device != "cpu":
            pytest.skip("a GPU doesn't look whether an id is inside its table; the data is checked before")
        with pytest.raises(MeasureError, match="id"):
            session.score(rows() | {"user": np.full(ROWS, USERS + 5)})

    def test_a_score_that_is_not_finite_is_an_error(self, session):
        age = rows()["age"].copy()
        age[3] = np.nan
        with pytest.raises(MeasureError, match=f"not finite for 1 of {ROWS}"):
            session.score(rows() | {"age": age})

    def test_a_closed_session_answers_nothing(self, session):
        session.close()
        session.close()
        with pytest.raises(MeasureError, match="closed"):
            session.score(rows())

    def test_a_file_that_is_no_model_is_an_error(self, runtime, tmp_path):
        (tmp_path / "model.onnx").write_bytes(b"not a model")
        with pytest.raises(MeasureError, match=f"model.onnx can't be opened by {runtime.title}"):
            runtime.open(tmp_path / "model.onnx", **Target().session | {"device": runtime.devices[0]})

    def test_a_device_it_does_not_know_is_an_error(self, runtime, file):
        with pytest.raises(MeasureError, match=f"allowed are {', '.join(runtime.devices)}"):
            runtime.open(file, **Target().session | {"device": "tpu"})
