"""The zoo: shapes, bounds, the meaning of padding, and a clean export."""

import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from compression.models.zoo import ARCHITECTURES, build
from compression.models.zoo.fields import pairwise, pool_mean, safe_keys
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Input, Signature
from compression.testing.tiny import TINY_CONFIG, tiny_dataset, tiny_model

DATASET = tiny_dataset(rows=300)


def batch_of(rows):
    return {name: torch.from_numpy(values) for name, values in rows.inputs.items()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_gives_one_finite_logit_a_row_and_the_same_for_the_same_seed(architecture):
    first, second = (tiny_model(architecture, DATASET, seed=3) for _ in range(2))
    batch = batch_of(DATASET.splits["test"])
    logits = first(batch)
    assert logits.shape == (len(DATASET.splits["test"]),)
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, second(batch))
    if architecture != "lr":
        assert not torch.equal(logits, tiny_model(architecture, DATASET, seed=4)(batch))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_longer_padding_changes_nothing(architecture):
    model = tiny_model(architecture, DATASET)
    batch = batch_of(DATASET.splits["test"])
    padded = batch | {"genres": nn.functional.pad(batch["genres"], (0, 4))}
    assert torch.allclose(model(batch), model(padded), atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_belongs_to_a_leaf_and_gets_a_gradient(architecture):
    model = tiny_model(architecture, DATASET).train()
    for table in model.table_inputs:
        nn.init.normal_(model.get_submodule(table).weight)
    model(batch_of(DATASET.splits["train"])).square().sum().backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    linear_before_batch_norm = [name for name in idle if name.endswith("bias")]
    assert idle == linear_before_batch_norm


@pytest.mark.parametrize("kinds", [("category",), ("multi",), ("number",), ("number", "number", "category"),
                                   ("category", "category")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_every_mix_of_inputs(architecture, kinds):
    shapes = {"category": lambda: torch.randint(0, 5, (6,)), "multi": lambda: torch.randint(0, 5, (6, 2)),
              "number": lambda: torch.randn(6)}
    inputs = tuple(Input(name=f"x{k}", kind=kind, column=f"x{k}", cardinality=None if kind == "number" else 5)
                   for k, kind in enumerate(kinds))
    model = build(architecture, Signature(inputs=inputs), TINY_CONFIG[architecture]).eval()
    assert model({item.name: shapes[item.kind]() for item in inputs}).shape == (6,)


def test_dcnv2_stacks_its_deep_part_on_the_cross_layers_on_request():
    model = tiny_model("dcnv2", DATASET, structure="stacked")
    assert not hasattr(model, "cross_output")
    assert model(batch_of(DATASET.splits["test"])).shape == (45,)


@pytest.mark.parametrize("n_experts", [1, 2])
def test_dcnv2_learns_cross_layers_of_low_rank_on_request(n_experts):
    model = tiny_model("dcnv2", DATASET, cross_rank=5, n_experts=n_experts)
    whole = tiny_model("dcnv2", DATASET)
    sizes = [sum(weight.numel() for weight in one.cross.parameters()) for one in (model, whole)]
    assert sizes[0] < sizes[1]
    assert model.cross[0].out_features == model.cross[0].in_features == 16
    batch = batch_of(DATASET.splits["test"])
    x = torch.randn(7, 16)
    assert torch.isfinite(model(batch)).all() and model.cross[0](x).shape == (7, 16)
    if n_experts == 2:
        assert model.cross[0].expand.in_features == 4  # a multiple of the experts


def test_mlps_are_plain_sequentials_that_end_in_the_output():
    for architecture in ("widedeep", "deepfm", "dcnv2", "dlrm"):
        model = tiny_model(architecture, DATASET)
        assert "mlp" in model.mlps
        for path in model.mlps:
            plain = (nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout)
            assert all(type(layer) in plain for layer in model.get_submodule(path))
        assert model.parts[f"mlp.{len(model.mlp) - 1}"] is Part.OUTPUT


def test_the_mean_over_ids_leaves_padding_out():
    vectors = torch.tensor([[[2.0], [4.0], [100.0]], [[5.0], [5.0], [5.0]]])
    ids = torch.tensor([[3, 1, 0], [0, 0, 0]])
    assert pool_mean(vectors, ids).tolist() == [[3.0], [0.0]]


def test_pairwise_is_the_sum_of_all_dot_products():
    vectors = [torch.randn(3, 4, dtype=torch.float64) for _ in range(5)]
    wanted = sum((vectors[i] * vectors[j]).sum(1) for i in range(5) for j in range(i))
    assert torch.allclose(pairwise(vectors), wanted)


def test_dlrm_reads_each_pair_of_vectors_once():
    model = tiny_model("dlrm", DATASET)
    assert len(model.pairs) == 6  # user, item, genres and the bottom output
    assert "pairs" not in model.state_dict()


def test_columns_with_awkward_names_get_tables_of_their_own():
    names = ["user", "items", "type", "C 1", "C.1", "", "1a", "read", "forward"]
    signature = Signature(inputs=tuple(Input(name=name, kind="category", column=name, cardinality=3) for name in names))
    keys = safe_keys(signature)
    assert len(set(keys.values())) == len(names)
    model = build("lr", signature)
    assert sorted(model.table_inputs.values()) == sorted(names)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    tiny_model("deepfm", DATASET)
    assert torch.equal(torch.rand(1), wanted)


def test_an_unknown_architecture_is_refused_with_those_there_are():
    with pytest.raises(ModelError, match=r"no architecture 'deepfn' in the zoo; known: dcnv2, deepfm, dlrm"):
        build("deepfn", DATASET.signature)


def test_a_setting_out_of_bounds_is_refused_with_its_bounds():
    with pytest.raises(ModelError, match=r"embedding_dim of deepfm must be a whole number in \[1, 256\]; got 0"):
        build("deepfm", DATASET.signature, {"embedding_dim": 0})
    with pytest.raises(ModelError, match=r"fm has no setting width; it has: embedding_dim"):
        build("fm", DATASET.signature, {"width": 8})


def test_a_signature_without_inputs_is_refused():
    with pytest.raises(ModelError, match="needs at least one input"):
        build("lr", Signature(inputs=()))


def test_the_catalogue_loads_without_torch():
    code = ("import sys, compression.models.zoo as zoo, compression.models.zoo.params, compression.train.params; "
            "assert zoo.ARCHITECTURES; sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class ByPosition(nn.Module):
    """Inputs in the order of the signature, score as probability: as the exporter calls a model."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values):
        return torch.sigmoid(self.model(dict(zip(self.names, values, strict=True))))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_exported_graph_agrees_for_any_batch_and_length(architecture, tmp_path):
    model, rows = tiny_model(architecture, DATASET), DATASET.splits["test"]
    names = [item.name for item in DATASET.signature.inputs]
    example = tuple(torch.from_numpy(rows.inputs[name][:5]) for name in names)
    dynamic = torch.export.Dim.DYNAMIC
    shapes = (tuple(dict.fromkeys(range(value.dim()), dynamic) for value in example),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(ByPosition(model, names), example, input_names=names, output_names=["score"],
                                    dynamic_shapes=shapes, dynamo=True, optimize=False, opset_version=21, verbose=False)
    assert not {"Loop", "If", "Scan"} & {node.op_type for node in program.model_proto.graph.node}
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count, padding in ((1, 0), (45, 2)):
        feeds = {name: rows.inputs[name][:count] for name in names}
        feeds["genres"] = np.pad(feeds["genres"], ((0, 0), (0, padding)))
        with torch.no_grad():
            wanted = torch.sigmoid(model({name: torch.from_numpy(value) for name, value in feeds.items()})).numpy()
        assert np.abs(session.run(None, feeds)[0] - wanted).max() < 1e-5
