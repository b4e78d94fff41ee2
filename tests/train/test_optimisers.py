"""Optimisers of tables against their formulas and PyTorch's, and which tables they take."""

import torch
from torch import nn

from compression.train.optimisers import Optimisers, sparse_gradients, sparse_tables
from compression.train.params import TrainParams
from compression.train.table_optimisers import RowAdam, RowwiseAdagrad, sum_by_row


def test_gradients_of_a_repeated_id_are_added():
    rows, sums = sum_by_row(torch.tensor([4, 1, 4]), torch.tensor([[1.0], [10.0], [2.0]]))
    assert rows.tolist() == [1, 4]
    assert sums.tolist() == [[10.0], [3.0]]


def test_the_steps_are_those_of_the_formula_on_a_dense_gradient():
    torch.manual_seed(0)
    sparse, dense = nn.Embedding(6, 3, sparse=True), nn.Embedding(6, 3)
    dense.load_state_dict(sparse.state_dict())
    optimiser = RowwiseAdagrad({"table": sparse.weight}, learning_rate=0.1)
    accumulated = torch.zeros(6)
    for ids in ([0, 2, 2, 5], [2, 3], [5, 5, 5]):
        for table in (sparse, dense):
            table(torch.tensor(ids)).pow(3).sum().backward()
        gradient = dense.weight.grad
        accumulated += gradient.square().mean(1)
        with torch.no_grad():
            dense.weight -= 0.1 * gradient / (accumulated.sqrt() + 1e-8).unsqueeze(1)
        dense.weight.grad = None
        optimiser.step()
        assert torch.allclose(sparse.weight, dense.weight, atol=1e-6)
        assert sparse.weight.grad is None


def test_rows_outside_the_batch_are_not_touched_even_with_decay():
    table = nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    optimiser = RowwiseAdagrad({"table": table.weight}, learning_rate=0.1, decay=0.5)
    table(torch.tensor([1, 3])).sum().backward()
    optimiser.step()
    changed = (table.weight != before).any(1)
    assert changed.tolist() == [False, True, False, True, False]


def test_decay_pulls_a_read_row_towards_zero():
    table = nn.Embedding(2, 2, sparse=True)
    nn.init.ones_(table.weight)
    optimiser = RowwiseAdagrad({"table": table.weight}, learning_rate=0.1, decay=0.5)
    (table(torch.tensor([1])) * 0).sum().backward()
    optimiser.step()
    assert torch.allclose(table.weight, torch.tensor([[1.0, 1.0], [0.95, 0.95]]))


def test_tables_that_read_the_same_ids_do_not_mix_their_gradients():
    wide, narrow = nn.Embedding(5, 3, sparse=True), nn.Embedding(5, 1, sparse=True)
    before = wide.weight.detach().clone(), narrow.weight.detach().clone()
    optimiser = RowwiseAdagrad({"wide": wide.weight, "narrow": narrow.weight}, learning_rate=0.1)
    ids = torch.tensor([1, 1, 4])
    (wide(ids).sum() - narrow(ids).sum()).backward()
    optimiser.step()
    for table, was, sign in ((wide, before[0], -1), (narrow, before[1], 1)):
        assert torch.allclose(table.weight[[1, 4]], was[[1, 4]] + sign * 0.1, atol=1e-5)
        assert torch.equal(table.weight[[0, 2, 3]], was[[0, 2, 3]])


def test_a_gradient_of_a_large_table_stays_a_list_of_rows():
    model = nn.Sequential(nn.Embedding(1_000_000, 4))
    with sparse_gradients(model):
        model(torch.tensor([3, 3, 9])).sum().backward()
    gradient = model[0].weight.grad
    assert gradient.is_sparse and gradient._nnz() == 3
    assert not model[0].sparse


def test_a_tied_or_special_table_is_left_to_the_dense_optimiser():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Embedding(4, 2)
            self.table = nn.Embedding(4, 2)
            self.head = nn.Linear(2, 4, bias=False)
            self.head.weight = self.table.weight
            self.bounded = nn.Embedding(4, 2, max_norm=1.0)
            self.frozen = nn.Embedding(4, 2).requires_grad_(False)

    model = Tied()
    assert list(sparse_tables(model)) == ["own"]
    assert Optimisers(model, TrainParams()).n_trained == 3


def test_the_state_comes_back():
    table = nn.Embedding(4, 2, sparse=True)
    first = RowwiseAdagrad({"table": table.weight}, learning_rate=0.1)
    table(torch.tensor([1, 2])).sum().backward()
    first.step()
    second = RowwiseAdagrad({"table": table.weight}, learning_rate=0.1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.sums["table"], torch.tensor([0.0, 1.0, 1.0, 0.0]))


def test_adam_over_rows_that_are_always_read_is_adam():
    sparse, dense = nn.Embedding(3, 2, sparse=True), nn.Embedding(3, 2)
    dense.load_state_dict(sparse.state_dict())
    ours = RowAdam({"table": sparse.weight}, learning_rate=0.01, l2={"table": 0.1})
    theirs = torch.optim.Adam(dense.parameters(), lr=0.01, weight_decay=0.1)
    for ids in ([0, 1, 2, 2], [2, 1, 0, 0], [0, 1, 2]):
        for table in (sparse, dense):
            table(torch.tensor(ids)).pow(3).sum().backward()
        ours.step()
        theirs.step()
        theirs.zero_grad()
        assert torch.allclose(sparse.weight, dense.weight, atol=1e-6)


def test_adam_lets_the_moments_of_a_row_fade_while_it_is_not_read():
    table = nn.Embedding(2, 1, sparse=True)
    optimiser = RowAdam({"table": table.weight}, learning_rate=0.01)
    for ids in ([0, 1], [1], [1], [0]):
        before = table.weight.detach().clone()
        table(torch.tensor(ids)).sum().backward()  # every gradient of a row that is read is 1
        optimiser.step()
        assert [row not in ids for row in (0, 1)] == (table.weight == before).flatten().tolist()
    assert torch.allclose(optimiser.mean["table"][0], torch.tensor(0.1 * 0.9**3 + 0.1))


def test_l2_of_a_row_catches_up_with_the_steps_in_which_it_was_not_read():
    gradients = []

    class Watched(RowwiseAdagrad):
        def _direction(self, name, rows, gradient, gap):
            gradients.append(gradient.clone())
            return torch.zeros_like(gradient)

    table = nn.Embedding(2, 1, sparse=True)
    nn.init.ones_(table.weight)
    optimiser = Watched({"table": table.weight}, learning_rate=0.1, l2={"table": 0.5})
    for ids in ([0], [1], [1], [0]):
        (table(torch.tensor(ids)) * 0).sum().backward()
        optimiser.step()
    assert [one.item() for one in gradients] == [0.5, 1.0, 0.5, 1.5]


def embedding_after(params, *, steps=3, std=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4))
    nn.init.normal_(model[0].weight, std=std)
    before = model[0].weight.detach().clone()
    with sparse_gradients(model, rows=params.table_rows):
        optimisers = Optimisers(model, params)
        for _ in range(steps):
            model(torch.tensor([1, 3])).sum().backward()
            optimisers.step()
    return before, model[0].weight.detach()


def test_over_whole_tables_rows_that_are_not_read_shrink_too():
    for kind in ("adam", "adagrad"):
        for rows in ("all", "read"):
            params = TrainParams(table_optimizer=kind, table_rows=rows, embedding_l2=0.1, embedding_learning_rate=0.01)
            before, after = embedding_after(params)
            moved = (before != after).any(1).tolist()
            assert moved == ([True] * 5 if rows == "all" else [False, True, False, True, False]), (kind, rows)
            if rows == "all":
                assert after[0].abs().sum() < before[0].abs().sum()


def test_a_table_of_one_column_has_its_share_of_the_penalty():
    model = nn.ModuleDict({"vectors": nn.Embedding(4, 2), "weights": nn.Embedding(4, 1)})
    for share, weights in ((1.0, 0.5), (0.1, 0.05)):
        params = TrainParams(table_optimizer="adam", embedding_l2=0.5, first_order_l2=share)
        assert Optimisers(model, params).tables.l2 == {"vectors": 0.5, "weights": weights}
        whole = Optimisers(model, params.model_copy(update={"table_rows": "all"})).dense[-1]
        assert [group["weight_decay"] for group in whole.param_groups] == [0.5, weights]


def test_decay_of_whole_tables_pulls_every_row():
    params = TrainParams(table_optimizer="adam", table_rows="all", embedding_decay=1.0, embedding_learning_rate=0.1)
    before, after = embedding_after(params, steps=1)
    assert torch.allclose(after[0], 0.9 * before[0])


def test_a_relative_rate_follows_the_scale_of_the_table():
    params = TrainParams(embedding_rate="relative", embedding_learning_rate=0.1)
    for kind in ("adam", "adagrad"):
        for rows in ("all", "read"):
            chosen = params.model_copy(update={"table_optimizer": kind, "table_rows": rows})
            moves = []
            for std in (1.0, 0.01):
                before, after = embedding_after(chosen, steps=1, std=std)
                moves.append((after - before)[1].abs().max() / before.square().mean().sqrt())
            assert torch.allclose(torch.stack(moves), torch.full((2,), 0.1), atol=1e-3), (kind, rows)


def test_a_relative_rate_moves_a_table_that_starts_at_zero():
    before, after = embedding_after(TrainParams(embedding_rate="relative", embedding_learning_rate=0.1), std=0.0)
    assert (after != before)[1].all()


def test_clipping_bounds_the_norm_over_tables_and_layers_together():
    def gradients(clip_norm):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 1))
        seen = {}
        with sparse_gradients(model):
            optimisers = Optimisers(model, TrainParams(clip_norm=clip_norm))
            optimisers.tables.step = lambda factor, rows: seen.update(
                {name: gradient.clone() for name, (_, gradient) in rows.items()})
            optimisers.dense[0].step = lambda: seen.update(
                {name: weight.grad.clone() for name, weight in model[1].named_parameters()})
            (100 * model(torch.tensor([1, 1, 3]))).sum().backward()
            optimisers.step()
        return torch.cat([one.flatten() for one in seen.values()])

    free, clipped, loose = (gradients(value) for value in (0.0, 2.0, 1000.0))
    assert free.norm() > 100 and torch.isclose(clipped.norm(), torch.tensor(2.0), atol=1e-4)
    assert torch.allclose(clipped / clipped.norm(), free / free.norm(), atol=1e-5)
    assert torch.equal(loose, free) == bool(free.norm() < 1000)
