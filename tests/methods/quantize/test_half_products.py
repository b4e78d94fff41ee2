"""Products in fp16: what is rounded where, what the exported graph multiplies, and that large inputs stay finite."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from compression.export.layer import export_layer
from compression.layers.half_layers import HalfProduct
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES
from compression.testing.steps import apply, logits, ordered_dataset
from compression.testing.tiny import tiny_model


def linear(weight: torch.Tensor, bias: list[float]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.tensor(bias))
    return layer


def test_weights_and_inputs_are_rounded_to_11_bits_and_the_bias_is_not():
    """1 + 2⁻¹² is 1 in fp16; a bias of it stays what it is."""
    layer = HalfProduct(linear(torch.tensor([[1 + 2.0**-12]]), [1 + 2.0**-12]))
    assert float(layer(torch.tensor([[1 + 2.0**-12]]))) == 2 + 2.0**-12


def test_an_input_beyond_fp16_is_cut_to_its_largest_number():
    layer = HalfProduct(linear(torch.tensor([[0.5]]), [0.0]))
    assert layer(torch.tensor([[1e9], [-1e9]])).flatten().tolist() == [32752.0, -32752.0]


def test_the_exported_layer_multiplies_fp16_by_fp16_and_gives_what_torch_gives(tmp_path):
    torch.manual_seed(0)
    layer, x = HalfProduct(nn.Linear(64, 1)), torch.randn(16, 64)
    path = export_layer(layer, 64, tmp_path / "layer.onnx")
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    kinds = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    assert [[kinds[name] for name in node.input] for node in products] == [[onnx.TensorProto.FLOAT16] * 2]
    found = RUNTIMES["onnxruntime"].open(path, **Target().session).score({"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found).reshape(16, 1), layer(x).detach(), atol=3e-3, rtol=1e-3)


def test_half_of_the_dense_bytes_go_and_scores_hardly_move():
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    given = apply("quantize.half_products", model, dataset, min_features=1, skip_output=False)
    before = sum(change.bytes_before for change in given.changes)
    assert given.changes and sum(change.bytes_after for change in given.changes) < 0.55 * before
    torch.testing.assert_close(torch.sigmoid(logits(given.model, dataset)), torch.sigmoid(logits(model, dataset)),
                               atol=1e-3, rtol=0)
