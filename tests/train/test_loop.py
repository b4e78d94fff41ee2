"""Training: learns, stops, resumes to the same bits, and says so when it can't."""

import numpy as np
import pytest
import torch
from torch import nn

from compression.data.batches import score_rows, to_device
from compression.data.dataset import Dataset
from compression.data.scores import auc
from compression.spec.errors import Cancelled, DataError, ModelError
from compression.spec.hook import Hook
from compression.spec.records import Progress
from compression.testing.tiny import tiny_dataset, tiny_model
from compression.train.loop import train
from compression.train.params import TrainParams

QUICK = TrainParams(epochs=3, batch_size=128)
DATASET = tiny_dataset(rows=1200)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class Ticking:
    """A clock that moves on by one second each time it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("architecture", ["lr", "fm", "widedeep", "deepfm", "dcnv2", "dlrm"])
def test_every_architecture_learns_the_planted_structure(architecture):
    dataset = tiny_dataset(rows=4000)
    model = tiny_model(architecture, dataset)
    train(model, dataset, TrainParams(epochs=15, batch_size=64, learning_rate=3e-3, patience=15))
    test = dataset.splits["test"]
    assert auc(score_rows(model, to_device(test)), test.label) > 0.68
    assert not model.training


@pytest.mark.parametrize("architecture", ["deepfm", "dlrm"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(architecture):
    trained = {}
    for run, seed in (("first", 0), ("second", 0), ("other", 1)):
        model = tiny_model(architecture, DATASET)
        train(model, DATASET, QUICK, seed=seed)
        trained[run] = weights(model)
    assert equal(trained["first"], trained["second"])
    assert not equal(trained["first"], trained["other"])


def test_training_does_not_depend_on_the_global_generator_and_leaves_it_alone():
    trained = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        wanted = torch.get_rng_state()
        model = tiny_model("deepfm", DATASET)
        train(model, DATASET, QUICK)
        assert torch.equal(torch.get_rng_state(), wanted)
        trained.append(weights(model))
    assert equal(*trained)


class Counting(Hook):
    """Counts the steps it has seen; ends the process' place in the loop, as a kill would, after `killed_after`."""

    killed_after = None  # of the class: a kill is no setting of a training

    def __init__(self):
        self.seen = 0

    def after_step(self, model, step, total_steps):
        self.seen += 1
        if self.killed_after is not None and step >= self.killed_after:
            raise KeyboardInterrupt

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


@pytest.mark.parametrize("killed_after", [1, 6, 7, 8, 13])
def test_a_killed_training_resumes_to_the_same_bits(killed_after, tmp_path, monkeypatch):
    """An epoch has 7 steps here: killed in its midst, at its end and after it."""
    params = TrainParams(epochs=3, batch_size=128, weight_decay=0.01, embedding_decay=1e-4)
    whole = tiny_model("deepfm", DATASET)
    outcome = train(whole, DATASET, params, seed=3, hooks=[Counting()])

    path, model = tmp_path / "train.ckpt", tiny_model("deepfm", DATASET)
    monkeypatch.setattr(Counting, "killed_after", killed_after)
    with pytest.raises(KeyboardInterrupt):
        train(model, DATASET, params, seed=3, hooks=[Counting()], checkpoint=path, checkpoint_seconds=0)
    monkeypatch.setattr(Counting, "killed_after", None)
    again, hook = tiny_model("deepfm", DATASET), Counting()
    resumed = train(again, DATASET, params, seed=3, hooks=[hook], checkpoint=path, checkpoint_seconds=0)
    assert resumed.resumed == (killed_after > 1)
    assert equal(weights(whole), weights(again))
    assert resumed.history == outcome.history
    assert hook.seen == 21


def test_a_finished_training_is_not_done_again(tmp_path):
    path, model = tmp_path / "train.ckpt", tiny_model("deepfm", DATASET)
    train(model, DATASET, QUICK, checkpoint=path)
    again = tiny_model("deepfm", DATASET)
    outcome = train(again, DATASET, QUICK, checkpoint=path)
    assert equal(weights(model), weights(again))
    assert outcome.resumed and outcome.rows_per_second is None


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_bytes(path.read_bytes()[:1000]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("not a checkpoint"),
])
def test_a_checkpoint_that_cannot_be_read_only_costs_time(spoil, tmp_path):
    path, model = tmp_path / "train.ckpt", tiny_model("lr", DATASET)
    train(model, DATASET, QUICK, checkpoint=path)
    spoil(path)
    again = tiny_model("lr", DATASET)
    assert not train(again, DATASET, QUICK, checkpoint=path).resumed
    assert equal(weights(model), weights(again))


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path):
    path = tmp_path / "train.ckpt"
    train(tiny_model("lr", DATASET), DATASET, QUICK, checkpoint=path)
    other = TrainParams(epochs=3, batch_size=64)
    assert not train(tiny_model("lr", DATASET), DATASET, other, checkpoint=path).resumed
    assert not train(tiny_model("lr", DATASET), DATASET, other, seed=9, checkpoint=path).resumed


def test_a_checkpoint_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    train(tiny_model("lr", DATASET), DATASET, QUICK, checkpoint=tmp_path / "deep" / "train.ckpt", checkpoint_seconds=0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["train.ckpt"]


class Spoiling(Hook):
    """Makes the model useless from a step on."""

    def __init__(self, step):
        self.step = step

    def after_step(self, model, step, total_steps):
        if step >= self.step:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.zero_()


def test_it_stops_after_patience_epochs_and_keeps_the_best_weights():
    model = tiny_model("deepfm", DATASET)
    params = TrainParams(epochs=30, batch_size=128, patience=3)
    outcome = train(model, DATASET, params, hooks=[Spoiling(step=14)])  # in the last step of epoch 2
    assert outcome.stopped_early
    assert (outcome.best_epoch, len(outcome.history)) == (1, 4)
    valid = DATASET.splits["valid"]
    assert auc(score_rows(model, to_device(valid)), valid.label) == outcome.best.valid["auc"] > 0.5


class Schedule(Hook):
    """Settled from a step on, like gradual pruning."""

    def __init__(self, step):
        self.step, self.ended = step, False

    def settled(self, step, total_steps):
        return step >= self.step

    def on_end(self, model):
        self.ended = True


def test_epochs_before_a_schedule_has_settled_are_never_the_best():
    params = TrainParams(epochs=6, batch_size=128, patience=1)
    hook = Schedule(step=4 * 7)
    outcome = train(tiny_model("deepfm", DATASET), DATASET, params, hooks=[hook, Spoiling(step=8)])
    assert outcome.best_epoch == 4
    assert hook.ended


def test_a_schedule_that_never_settles_ends_with_the_last_weights():
    hook = Schedule(step=10**6)
    outcome = train(tiny_model("lr", DATASET), DATASET, QUICK, hooks=[hook])
    assert outcome.best_epoch == 3 and not outcome.stopped_early


class Halting(Hook):
    def __init__(self):
        self.shapes = set()

    def loss(self, batch, logits, label, loss, weight=None):
        self.shapes.add((tuple(batch), logits.shape == label.shape, loss.dim()))
        return loss * 0.0


def test_a_fine_tuning_that_only_harms_gives_the_model_back_as_it_came():
    model = tiny_model("deepfm", DATASET, trained=True)
    before = weights(model)
    outcome = train(model, DATASET, TrainParams(epochs=4, batch_size=128, patience=2), hooks=[Spoiling(step=1)])
    assert (outcome.best_epoch, len(outcome.history)) == (0, 2)
    assert outcome.best == outcome.start
    assert equal(before, weights(model))


def test_a_hook_decides_the_loss_that_is_minimised():
    model, hook = tiny_model("lr", DATASET), Halting()
    before = weights(model)
    train(model, DATASET, TrainParams(epochs=1, batch_size=128), hooks=[hook, Schedule(step=1)])
    assert hook.shapes == {(("user", "item", "genres", "age"), True, 0)}
    assert equal(before, weights(model))


def test_progress_says_epoch_rate_and_time_left_about_twice_a_second():
    heard: list[Progress] = []
    train(tiny_model("lr", DATASET), DATASET, QUICK, report=heard.append, clock=Ticking(), stage="fine-tune")
    assert {item.stage for item in heard} == {"fine-tune"}
    assert [item.done for item in heard] == sorted(item.done for item in heard)
    assert heard[-1].done == heard[-1].total == 3
    assert heard[-1].seconds_left == 0 and heard[-1].rate > 0
    assert all(item.unit == "epoch" for item in heard)
    assert "best validation AUC 0." in heard[-1].message
    quiet: list[Progress] = []
    train(tiny_model("lr", DATASET), DATASET, QUICK, report=quiet.append, clock=lambda: 0.0)
    assert len(quiet) == QUICK.epochs  # the clock stands still: only the end of each epoch


def test_a_cancel_raised_by_the_report_passes_through():
    def report(progress):
        raise Cancelled("stopped")

    model = tiny_model("lr", DATASET)
    with pytest.raises(Cancelled):
        train(model, DATASET, QUICK, report=report, clock=Ticking())
    assert not model.first_order.user.sparse


class Exploding(Hook):
    def after_step(self, model, step, total_steps):
        with torch.no_grad():
            model.mlp[0].weight.fill_(float("inf"))


def test_a_diverged_training_says_where_and_what_to_lower():
    with pytest.raises(ModelError, match=r"diverged: .* in epoch 1, step 7 of 7\. Lower learning_rate \(now 0\.001\)"):
        train(tiny_model("deepfm", DATASET), DATASET, QUICK, hooks=[Exploding()])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_model_that_is_broken_before_training_is_not_called_diverged():
    model = tiny_model("deepfm", DATASET)
    Exploding().after_step(model, 0, 0)
    with pytest.raises(ModelError, match="not finite numbers before training begins"):
        train(model, DATASET, QUICK)


def test_a_model_without_weights_to_train_is_refused():
    class Frozen(nn.Module):
        def forward(self, batch):
            return batch["age"]

    with pytest.raises(ModelError, match="no weights left to train"):
        train(Frozen(), DATASET, QUICK)


def test_a_split_without_rows_is_refused():
    splits = DATASET.splits | {"valid": DATASET.splits["valid"].take(slice(0, 0))}
    empty = Dataset(DATASET.description, DATASET.signature, DATASET.vocabularies, splits)
    with pytest.raises(DataError, match=r"The valid split of 'tiny' has 0 rows; training needs at least 2"):
        train(tiny_model("lr", DATASET), empty, QUICK)


def test_a_last_batch_of_one_row_does_not_break_batch_norm():
    splits = DATASET.splits | {"train": DATASET.splits["train"].take(slice(0, 129))}
    odd = Dataset(DATASET.description, DATASET.signature, DATASET.vocabularies, splits)
    outcome = train(tiny_model("deepfm", DATASET, batch_norm=True), odd, QUICK)
    assert len(outcome.history) == 3


def test_a_validation_split_of_one_class_is_judged_by_its_log_loss():
    valid = DATASET.splits["valid"]
    splits = DATASET.splits | {"valid": valid.take(np.flatnonzero(valid.label == 1))}
    one = Dataset(DATASET.description, DATASET.signature, DATASET.vocabularies, splits)
    outcome = train(tiny_model("deepfm", DATASET), one, QUICK)
    losses = [score.valid["logloss"] for score in outcome.history]
    assert outcome.best.valid["auc"] is None
    assert outcome.best.valid["logloss"] == min(losses)


def test_frozen_weights_stay_where_they_are():
    model = tiny_model("deepfm", DATASET)
    model.tables.user.weight.requires_grad_(False)
    before = weights(model)
    train(model, DATASET, QUICK)
    assert torch.equal(before["tables.user.weight"], model.tables.user.weight)
    assert not torch.equal(before["tables.item.weight"], model.tables.item.weight)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_gpu_the_same_seed_gives_the_same_weights(precision):
    trained = []
    for _ in range(2):
        model = tiny_model("deepfm", DATASET)
        train(model, DATASET, TrainParams(epochs=3, batch_size=128, precision=precision), device="cuda")
        assert next(model.parameters()).device.type == "cpu"
        trained.append(weights(model))
    assert equal(*trained)
