"""Row-wise Adagrad against its formula, and which tables it takes."""

import torch
from torch import nn

from compression.train.optimisers import Optimisers, RowwiseAdagrad, sparse_gradients, sparse_tables, sum_by_row
from compression.train.params import TrainParams


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
