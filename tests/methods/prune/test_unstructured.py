"""Six ways to choose the weights that become zero: each does what its paper says, and zeros live through training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.data.batches import DeviceRows
from compression.observe.saliency import gradient_scores
from compression.spec.recipe import check
from compression.testing.steps import apply, apply_all, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from compression.train.hooks.movement import MovementHook, ShrinkingHook, soft_threshold
from compression.train.hooks.pruning import lowest
from compression.train.hooks.rewinding import RewindingHook, sparsity_after

DURING = ("prune.movement", "prune.l1", "prune.iterative")


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, trained=True)


def zeros(weight: torch.Tensor) -> float:
    return float((weight == 0).float().mean())


def test_of_equal_scores_exactly_as_many_go_as_were_asked_for():
    assert lowest(torch.zeros(10), 0.3).sum() == 3
    assert lowest(torch.tensor([3.0, 1, 1, 1, 2]), 0.4).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("key", ["prune.random", "prune.taylor"])
def test_the_asked_share_goes_and_stays_away_through_fine_tuning(key, model, dataset):
    tuned = apply_all(model, dataset, (key, {"sparsity": 0.6, "weights": "both"}),
                      ("train.fine_tune", {"epochs": 1, "batch_size": 256})).get_submodule("mlp.0").weight
    assert zeros(tuned) == pytest.approx(0.6, abs=0.01)


def test_random_pruning_does_not_look_at_the_weights(model, dataset):
    weight = model.tables.item.weight.detach()
    gone = apply("prune.random", model, dataset, weights="tables").model.tables.item.weight == 0
    other = apply("prune.random", model, dataset, weights="tables", seed=1).model.tables.item.weight == 0
    assert weight[gone].abs().mean() == pytest.approx(float(weight[~gone].abs().mean()), rel=0.2)
    assert not torch.equal(gone, other)


def test_a_taylor_score_is_the_squared_change_of_the_loss_when_the_weight_goes():
    """Molchanov et al. 2019: I_m = (E(W) − E(W | w_m = 0))² ≈ (g_m w_m)²; exact where the loss is linear."""
    layer = nn.Linear(4, 1, bias=False)
    x, label = torch.randn(64, 4), torch.zeros(64)

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.layer(batch["x"]).squeeze(-1)

    def loss(logits: torch.Tensor, label: torch.Tensor, weight: None) -> torch.Tensor:
        return logits.mean()

    rows = DeviceRows({"x": x[:1].expand(64, 4)}, label)
    scores = gradient_scores(Reads(), {"layer": layer.weight}, rows, criterion="taylor", loss=loss, batch_size=64,
                             n_batches=3, generator=torch.Generator().manual_seed(0))["layer"]
    torch.testing.assert_close(scores, (x[:1] * layer.weight).square().detach())


def test_taylor_pruning_hurts_the_loss_less_than_random(model, dataset):
    from compression.data.batches import to_device
    from compression.observe.importance import loss_of

    rows = to_device(dataset.splits["train"])
    after = {key: loss_of(apply(key, model, dataset, sparsity=0.5, weights="both").model, rows)
             for key in ("prune.taylor", "prune.random")}
    assert after["prune.taylor"] < after["prune.random"]


def test_a_small_weight_that_grows_stays_and_a_large_one_that_shrinks_goes():
    """Sanh et al. 2020, figure 1: movement and magnitude choose differently."""
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    network[0].weight.data = torch.tensor([[0.1, 1.0]])
    hook = MovementHook(("0",), sparsity=0.5, scope="layer")
    hook.on_start(network, 8)
    for step in range(1, 9):
        with torch.no_grad():
            network[0].weight += torch.tensor([[0.05, -0.05]])
        hook.after_step(network, step, 8)
    assert network[0].weight[0, 0] > 0.4 and network[0].weight[0, 1] == 0


def test_the_pull_of_l1_is_the_proximal_step_and_leaves_exact_zeros(model, dataset):
    given = soft_threshold(torch.tensor([-0.5, -0.1, 0.05, 0.3]), 0.2)
    torch.testing.assert_close(given, torch.tensor([-0.3, 0.0, 0.0, 0.1]))
    shares = []
    for strength in (0.5, 2, 8):
        tuned = apply_all(model, dataset, ("prune.l1", {"strength": strength}),
                          ("train.fine_tune", {"epochs": 4, "batch_size": 64}))
        shares.append(zeros(tuned.mlp[0].weight))
    assert shares == sorted(shares) and shares[-1] > 0.3


def test_weights_that_no_gradient_holds_are_pulled_to_zero_while_others_move():
    network = nn.Sequential(nn.Linear(2, 1, bias=False))
    network[0].weight.data = torch.tensor([[0.02, 1.0]])
    hook = ShrinkingHook(("0",), strength=0.5)
    hook.on_start(network, 100)
    for step in range(1, 11):
        with torch.no_grad():
            network[0].weight[0, 1] += 0.1
        hook.after_step(network, step, 100)
    assert network[0].weight[0, 0] == 0 and network[0].weight[0, 1] > 1.5


def test_each_round_takes_the_same_share_and_sets_the_survivors_back_to_the_start():
    """Frankle & Carbin 2019: p^(1/n) % of the weights that survive; the rest is reset to its values in θ0."""
    assert [round(sparsity_after(k, 3, 0.488), 3) for k in (1, 2, 3)] == [0.2, 0.36, 0.488]
    network = nn.Sequential(nn.Linear(10, 10, bias=False))
    start = network[0].weight.detach().clone()
    hook = RewindingHook(("0",), sparsity=0.75, scope="layer", n_rounds=2, rewind_to="start")
    hook.on_start(network, 30)
    for step in range(1, 21):
        with torch.no_grad():
            network[0].weight += 0.01 * torch.randn(10, 10)
        hook.after_step(network, step, 30)
        if step == 10:
            assert zeros(network[0].weight) == 0.5
    left = network[0].weight != 0
    assert int(left.sum()) == 25 and torch.equal(network[0].weight[left], start[left])
    assert not hook.settled(20, 30) and hook.settled(21, 30)


@pytest.mark.parametrize("rewind_to", ["early", "none"])
def test_iterative_pruning_reaches_its_share_in_a_fine_tuning(rewind_to, model, dataset):
    tuned = apply_all(model, dataset, ("prune.iterative", {"sparsity": 0.8, "rewind_to": rewind_to}),
                      ("train.fine_tune", {"epochs": 4, "batch_size": 128}))
    assert zeros(tuned.mlp[0].weight) == pytest.approx(0.8, abs=0.01)


def test_two_of_every_four_neighbours_stay_and_they_are_the_largest(model, dataset):
    pruned = apply("prune.n_of_m", model, dataset, min_features=4).model.mlp[0].weight
    groups, old = pruned[:, :16].reshape(16, -1, 4), model.mlp[0].weight[:, :16].reshape(16, -1, 4).abs()
    assert ((groups != 0).sum(2) == 2).all()
    kept = old.masked_fill(groups == 0, 2e9).amin(2)
    assert (kept >= old.masked_fill(groups != 0, 0).amax(2)).all()


@pytest.mark.parametrize("key", DURING)
def test_what_works_during_training_needs_a_training_after_it(key):
    assert any("add a fine-tune step after it" in problem.message for problem in check(recipe_of((key, {}))))


@pytest.mark.parametrize("key", [*DURING, "prune.magnitude"])
def test_a_killed_training_goes_on_with_what_its_hook_knew(key, model, dataset):
    given = apply(key, model, dataset, **{"prune.magnitude": {"schedule": "cubic"}}.get(key, {}))
    first, second = given.hooks[0], apply(key, model, dataset).hooks[0]
    for hook in (first, second):
        hook.on_start(given.model, 10)
    for step in range(1, 6):
        first.after_step(given.model, step, 10)
    second.load_state_dict(first.state_dict())
    known, loaded = first.state_dict(), second.state_dict()
    for name, tensors in known.items():
        assert tensors.keys() == loaded[name].keys()
        assert all(torch.equal(tensor, loaded[name][path]) for path, tensor in tensors.items())
