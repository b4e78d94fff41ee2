"""The operators the interpreter knows: ONNX name → function of (values, attributes), on tensors.

About 100 that recommender and ranking models use. Definitions follow the ONNX operator reference, opsets 7 to 24; where
an option has no plain torch form the operator raises Unsupported, and the file is measured as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from compression.models.onnx.shapes import (
    Attributes,
    arange,
    constant_of_shape,
    expand,
    flatten,
    pad,
    reshape,
    shape,
    slice_,
    split,
    squeeze,
    unsqueeze,
)
from compression.models.onnx.values import Ints, Unsupported, Value, ints, tensor, tensors
from compression.models.onnx.windows import average_pool, conv, global_pool, max_pool

Operator = Callable[[list[Value], Attributes], Value | tuple[Value, ...]]

# floats of any width are float32 here
TORCH_TYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64,
               9: torch.bool, 10: torch.float32, 11: torch.float32, 16: torch.float32}


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda v, a: function(tensor(v[0]))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    def apply(v: list[Value], a: Attributes) -> Tensor:
        result, *others = tensors(v)
        for other in others:
            result = function(result, other)
        return result

    return apply


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def apply(v: list[Value], a: Attributes) -> Tensor:
        x = tensor(v[0])
        axes = a.get("axes") if "axes" in a else ints(v[1], "axes") if len(v) > 1 and v[1] is not None else None
        if not axes:
            if a.get("noop_with_empty_axes", 0):
                return x
            axes = range(x.dim())
        axes = [axis % x.dim() for axis in axes]
        return function(x, axes, bool(a.get("keepdims", 1))) if axes else x

    return apply


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _modulo(v: list[Value], a: Attributes) -> Tensor:
    x, y = tensors(v)
    return torch.fmod(x, y) if a.get("fmod", 0) else torch.remainder(x, y)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def gather(v: list[Value], a: Attributes) -> Value:
    axis = a.get("axis", 0)
    x = tensor(v[0])
    axis %= x.dim()
    if isinstance(v[1], Ints) and v[1].scalar:
        return x.select(axis, v[1].values[0])
    if isinstance(v[1], Ints):
        return x.index_select(axis, tensor(v[1], x) % x.shape[axis])
    index = tensor(v[1], x)  # a negative one, which ONNX allows, is refused by torch: such a file is measured as it is
    if index.dim() == 1:
        return x.index_select(axis, index)
    if axis == 0 and x.dim() == 2:
        return F.embedding(index, x)  # one Gather when it is exported again
    return x.index_select(axis, index.reshape(-1)).reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1:])


def gemm(v: list[Value], a: Attributes) -> Tensor:
    x, w, *rest = tensors([value for value in v if value is not None])
    product = (x.t() if a.get("transA") else x) @ (w.t() if a.get("transB") else w)
    product = product if a.get("alpha", 1.0) == 1.0 else product * a["alpha"]
    if not rest:
        return product
    return product + (rest[0] if a.get("beta", 1.0) == 1.0 else rest[0] * a["beta"])


def layer_normalization(v: list[Value], a: Attributes) -> Tensor:
    x, weight, *bias = tensors([value for value in v if value is not None])
    axis = a.get("axis", -1) % x.dim()
    if weight.dim() != x.dim() - axis:
        raise Unsupported("its scale spans other axes than it normalises")
    return F.layer_norm(x, weight.shape, weight, bias[0] if bias else None, a.get("epsilon", 1e-5))


def batch_normalization(v: list[Value], a: Attributes) -> Tensor:
    if a.get("training_mode", 0):
        raise Unsupported("it was exported in training mode")
    x, weight, bias, mean, variance = tensors(v[:5])
    return F.batch_norm(x, mean.detach(), variance.detach(), weight, bias, False, 0.1, a.get("epsilon", 1e-5))


def cast(v: list[Value], a: Attributes) -> Tensor:
    if a["to"] not in TORCH_TYPES:
        raise Unsupported(f"it casts to the ONNX type {a['to']}")
    return tensor(v[0]).to(TORCH_TYPES[a["to"]])


def cast_like(v: list[Value], a: Attributes) -> Tensor:
    x, like = tensors(v)
    return x.to(like.dtype)


def clip(v: list[Value], a: Attributes) -> Tensor:
    x = tensor(v[0])
    for place, name, apply in ((1, "min", torch.maximum), (2, "max", torch.minimum)):
        if name in a:
            x = apply(x, torch.full_like(x, a[name]))
        elif len(v) > place and v[place] is not None:
            x = apply(x, tensor(v[place], x).to(x.dtype))
    return x


def softmax(v: list[Value], a: Attributes) -> Tensor:
    x = tensor(v[0])
    if a["opset"] < 13 and x.dim() != 2:
        raise Unsupported("before opset 13 it flattens; export with a newer opset")
    return torch.softmax(x, a.get("axis", -1))


def where(v: list[Value], a: Attributes) -> Tensor:
    condition, x, y = tensors(v)
    return torch.where(condition.bool(), x, y)


def dropout(v: list[Value], a: Attributes) -> Tensor:
    return tensor(v[0])


def gather_elements(v: list[Value], a: Attributes) -> Tensor:
    x, index = tensors(v)
    return x.gather(a.get("axis", 0), index.long())


def gather_nd(v: list[Value], a: Attributes) -> Tensor:
    """Elements of the first axes by rows of places; `index` (K, n) names n axes."""
    x, index = tensors(v)
    if a.get("batch_dims", 0) or index.dim() != 2:
        raise Unsupported("its places are not one list of rows")
    return x[index.unbind(1)]


def one_hot(v: list[Value], a: Attributes) -> Tensor:
    x, depth = tensor(v[0]), ints(v[1], "the depth")[0]
    off, on = tensor(v[2], x).unbind(0)
    if a.get("axis", -1) != -1:
        raise Unsupported("its axis is not the last")
    return F.one_hot(x.long() % depth, depth).to(on.dtype) * (on - off) + off


def cumsum(v: list[Value], a: Attributes) -> Tensor:
    if a.get("exclusive", 0) or a.get("reverse", 0):
        raise Unsupported("it is exclusive or reversed")
    return tensor(v[0]).cumsum(ints(v[1], "the axis")[0])


def trilu(v: list[Value], a: Attributes) -> Tensor:
    k = ints(v[1], "the diagonal")[0] if len(v) > 1 and v[1] is not None else 0
    return torch.triu(tensor(v[0]), k) if a.get("upper", 1) else torch.tril(tensor(v[0]), k)


def top_k(v: list[Value], a: Attributes) -> tuple[Tensor, Tensor]:
    return tuple(torch.topk(tensor(v[0]), ints(v[1], "k")[0], a.get("axis", -1), bool(a.get("largest", 1)), True))


def arg_max(v: list[Value], a: Attributes) -> Tensor:
    return tensor(v[0]).argmax(a.get("axis", 0), bool(a.get("keepdims", 1)))


def only_as_layer(v: list[Value], a: Attributes) -> Tensor:
    raise Unsupported("it shares its weights with something else, so it is no layer of its own")


OPERATORS: dict[str, Operator] = {
    "Add": _binary(torch.add), "Sub": _binary(torch.sub), "Mul": _binary(torch.mul), "Div": _binary(_divide),
    "Pow": _binary(torch.pow), "Max": _binary(torch.maximum), "Min": _binary(torch.minimum), "Mod": _modulo,
    "Sum": _binary(torch.add), "PRelu": _binary(_prelu), "MatMul": _binary(torch.matmul),
    "And": _binary(torch.logical_and), "Or": _binary(torch.logical_or), "Xor": _binary(torch.logical_xor),
    "Equal": _binary(torch.eq), "Greater": _binary(torch.gt), "GreaterOrEqual": _binary(torch.ge),
    "Less": _binary(torch.lt), "LessOrEqual": _binary(torch.le),
    "Relu": _unary(torch.relu), "Sigmoid": _unary(torch.sigmoid), "Tanh": _unary(torch.tanh),
    "Sqrt": _unary(torch.sqrt), "Exp": _unary(torch.exp), "Log": _unary(torch.log), "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs), "Erf": _unary(torch.erf), "Not": _unary(torch.logical_not),
    "IsNaN": _unary(torch.isnan), "Reciprocal": _unary(torch.reciprocal), "Softplus": _unary(F.softplus),
    "Softsign": _unary(F.softsign), "Floor": _unary(torch.floor), "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round), "Sin": _unary(torch.sin), "Cos": _unary(torch.cos), "Sign": _unary(torch.sign),
    "Mish": _unary(F.mish), "HardSwish": _unary(F.hardswish),
    "Gelu": lambda v, a: F.gelu(tensor(v[0]), approximate=a.get("approximate", "none")),
    "LeakyRelu": lambda v, a: F.leaky_relu(tensor(v[0]), a.get("alpha", 0.01)),
    "Elu": lambda v, a: F.elu(tensor(v[0]), a.get("alpha", 1.0)),
    "Selu": lambda v, a: F.selu(tensor(v[0])),
    "ThresholdedRelu": lambda v, a: F.threshold(tensor(v[0]), a.get("alpha", 1.0), 0.0),
    "HardSigmoid": lambda v, a: (tensor(v[0]) * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1),
    "LpNormalization": lambda v, a: F.normalize(tensor(v[0]), a.get("p", 2), a.get("axis", -1)),
    "Softmax": softmax, "LogSoftmax": lambda v, a: torch.log(softmax(v, a)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(axes, keep)),
    "ReduceProd": _reduce(_product),
    "Gather": gather, "GatherElements": gather_elements, "GatherND": gather_nd, "Gemm": gemm,
    "Einsum": lambda v, a: torch.einsum(a["equation"], *tensors(v)),
    "LayerNormalization": layer_normalization, "BatchNormalization": batch_normalization,
    "Conv": conv, "GRU": only_as_layer, "LSTM": only_as_layer, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalMaxPool": global_pool("max"), "GlobalAveragePool": global_pool("mean"),
    "Shape": shape, "Size": lambda v, a: Ints((tensor(v[0]).numel(),), scalar=True),
    "Reshape": reshape, "Expand": expand, "Flatten": flatten, "Unsqueeze": unsqueeze, "Squeeze": squeeze,
    "Transpose": lambda v, a: tensor(v[0]).permute(a.get("perm", list(range(tensor(v[0]).dim()))[::-1])),
    "Concat": lambda v, a: torch.cat(tensors(v), a["axis"]), "Slice": slice_, "Split": split, "Pad": pad,
    "Tile": lambda v, a: tensor(v[0]).repeat(ints(v[1], "the repeats")),
    "ConstantOfShape": constant_of_shape, "Range": arange, "Trilu": trilu, "OneHot": one_hot, "CumSum": cumsum,
    "TopK": top_k, "ArgMax": arg_max, "Where": where, "Clip": clip, "Cast": cast, "CastLike": cast_like,
    "Dropout": dropout, "Identity": lambda v, a: tensor(v[0]),
}
