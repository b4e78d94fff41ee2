"""Learning-rate schedules: where they start, peak and end, and that a training follows them."""

import pytest
import torch

from compression.testing.tiny import tiny_dataset, tiny_model
from compression.train.loop import train
from compression.train.optimisers import Optimisers
from compression.train.params import TrainParams
from compression.train.schedules import ONE_CYCLE_START, rate_factor

DATASET = tiny_dataset(rows=300)


def factors(schedule, *, total=100, warmup=0.2, **given):
    return [rate_factor(schedule, step, total, warmup=warmup, **given) for step in range(total)]


def test_a_constant_rate_stays():
    assert set(factors("constant")) == {1.0}


def test_warmup_rises_evenly_and_stays():
    found = factors("warmup")
    assert found[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert set(found[20:]) == {1.0}


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_cycle_peaks_after_its_warmup_and_ends_at_zero(schedule):
    found = factors(schedule)
    assert found.index(max(found)) == 19 and found[19] == pytest.approx(1.0)
    assert found[59] == pytest.approx(0.5) and found[-1] == pytest.approx(0.0)
    assert all(0 <= value <= 1 for value in found)


def test_one_cycle_starts_near_a_25th():
    assert ONE_CYCLE_START < factors("one_cycle")[0] < 2 * ONE_CYCLE_START


def test_a_plateau_divides_by_ten_for_each_epoch_that_did_not_improve():
    assert [rate_factor("plateau", 7, 100, warmup=0.2, reductions=count) for count in (0, 1, 2)] == pytest.approx(
        [1, 0.1, 0.01])


def test_without_warmup_a_cosine_falls_from_its_first_step():
    found = factors("cosine", warmup=0.0)
    assert found == sorted(found, reverse=True) and found[0] > 0.99


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau"])
def test_a_training_takes_its_factors_from_the_schedule(schedule, monkeypatch):
    seen = []

    def step(self, factor=1.0):
        seen.append(factor)
        original(self, factor)

    original = Optimisers.step
    monkeypatch.setattr(Optimisers, "step", step)
    params = TrainParams(epochs=8, batch_size=32, schedule=schedule, warmup=0.5, patience=8, learning_rate=0.1,
                         embedding_learning_rate=1.0)
    outcome = train(tiny_model("deepfm", DATASET), DATASET, params)
    steps = len(seen) // len(outcome.history)
    if schedule == "one_cycle":
        assert seen == [rate_factor(schedule, step, len(seen), warmup=0.5) for step in range(len(seen))]
        return
    best, reductions = outcome.start.value, 0
    for epoch, score in enumerate(outcome.history):
        assert seen[epoch * steps:(epoch + 1) * steps] == pytest.approx([0.1**reductions] * steps)
        reductions += score.value <= best
        best = max(best, score.value)
    assert reductions  # rates this high make some epoch worse than the one before


def test_a_resumed_training_goes_on_with_the_rate_it_had(tmp_path):
    params = TrainParams(epochs=4, batch_size=64, schedule="plateau", patience=4, learning_rate=0.1,
                         embedding_learning_rate=0.01, table_optimizer="adam", embedding_l2=1e-3)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.done >= 2:
            raise Killed

    whole, resumed = (tiny_model("deepfm", DATASET) for _ in range(2))
    train(whole, DATASET, params)
    with pytest.raises(Killed):
        train(tiny_model("deepfm", DATASET), DATASET, params, report=kill, checkpoint=tmp_path / "x.ckpt",
              checkpoint_seconds=0)
    assert train(resumed, DATASET, params, checkpoint=tmp_path / "x.ckpt").resumed
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))
