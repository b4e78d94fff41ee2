"""Walking a model by its leaves."""

import torch
from torch import nn

from compression.models.structure import describe, leaves, part_of, replace, table_inputs
from compression.spec.method import copy_structure
from compression.spec.records import Part
from compression.testing.tiny import tiny_dataset, tiny_model


def test_a_copied_structure_shares_every_tensor_and_no_module():
    model = tiny_model("dcnv2")
    copied = copy_structure(model)
    assert {id(tensor) for tensor in copied.parameters()} == {id(tensor) for tensor in model.parameters()}
    assert {id(tensor) for tensor in copied.buffers()} == {id(tensor) for tensor in model.buffers()}
    assert not {id(module) for module in copied.modules()} & {id(module) for module in model.modules()}


def test_replacing_a_leaf_of_the_copy_leaves_the_original_alone():
    model = tiny_model("deepfm")
    copied = copy_structure(model)
    replace(copied, "tables.user", nn.Embedding(3, 4))
    assert model.tables.user.num_embeddings == 31
    assert copied.tables.user.num_embeddings == 3


def test_replacing_an_unknown_path_is_refused():
    try:
        replace(tiny_model("lr"), "tables.nobody", nn.Identity())
    except AttributeError:
        return
    raise AssertionError("an unknown path was accepted")


def test_leaves_are_the_modules_that_hold_tensors_and_a_declared_leaf_hides_its_children():
    class Factored(nn.Module):
        is_leaf = True

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), Factored())
    assert [path for path, _ in leaves(model)] == ["0", "2"]


def test_a_leaf_used_in_two_places_comes_once():
    shared = nn.Linear(2, 2)
    assert [path for path, _ in leaves(nn.Sequential(shared, shared))] == ["0"]


def test_every_table_says_which_input_it_reads():
    dataset = tiny_dataset()
    for architecture in ("lr", "fm", "widedeep", "deepfm", "dcnv2", "dlrm"):
        model = tiny_model(architecture, dataset)
        tables = {path for path, module in leaves(model) if isinstance(module, nn.Embedding)}
        assert set(table_inputs(model)) == tables
        for path, name in table_inputs(model).items():
            assert model.get_submodule(path).num_embeddings == dataset.signature.input(name).cardinality


def test_parts_name_tables_interaction_dense_and_output():
    model = tiny_model("dcnv2")
    assert part_of(model, "tables.item") is Part.EMBEDDING
    assert part_of(model, "cross.0") is Part.INTERACTION
    assert part_of(model, "mlp.0") is Part.DENSE
    assert part_of(model, "mlp.8") is Part.OUTPUT
    assert part_of(nn.Sequential(nn.Embedding(2, 2), nn.Linear(2, 2)), "0") is Part.EMBEDDING


def test_a_description_counts_every_stored_float_once():
    dataset = tiny_dataset()
    for architecture in ("lr", "deepfm", "dlrm"):
        model = tiny_model(architecture, dataset)
        description = describe(model, dataset.signature, architecture=architecture)
        floats = sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())
        assert description.size_bytes == 4 * floats


def test_a_description_counts_tied_weights_once_and_bare_parameters_too():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.table.weight
            self.scale = nn.Parameter(torch.ones(2))

    description = describe(Tied(), tiny_dataset().signature, architecture="tied", graph_bytes=7)
    assert description.size_bytes == 4 * (15 + 2) + 7
    assert [layer.kind for layer in description.layers] == ["Embedding", "Linear", "Parameter"]
