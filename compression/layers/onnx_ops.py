"""How our own operators are written in ONNX (opset 21): the table that export_onnx hands to torch's exporter.

Only operators with a CUDA kernel where one exists: packed codes are unpacked by a Gather from a table of 256
bytes, as BitShift and BitwiseAnd run on the CPU alone. Rows are scaled after the lookup, never before it.
Another layer adds its operator by an entry in TRANSLATIONS.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
import torch
from onnxscript import opset21 as op
from onnxscript.values import Op, Opset

from compression.layers.dense import quantized_linear  # noqa: F401  (registers its operators)
from compression.layers.dense.block_linear import ACCURACY_LEVEL
from compression.layers.rows import id_digits, quantized_rows  # noqa: F401  (register their operators)
from compression.layers.rows.row_codes import byte_levels
from compression.layers.stored_shapes import packed_width

FLOAT, INT8, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.INT32


def _matmul_of_blocks() -> Op:
    """MatMulNBits of ONNX Runtime, which onnx itself has no schema of: as far as it is used here."""
    schema, optional = onnx.defs.OpSchema, onnx.defs.OpSchema.FormalParameterOption.Optional
    floats, codes = (["tensor(float)"], "numbers"), (["tensor(uint8)"], "codes")
    inputs = [schema.FormalParameter("A", "T"), schema.FormalParameter("B", "C"), schema.FormalParameter("scales", "T"),
              *(schema.FormalParameter(name, kind, param_option=optional)
                for name, kind in (("zero_points", "C"), ("g_idx", "I"), ("bias", "T")))]
    attributes = [schema.Attribute(name, schema.AttrType.INT)
                  for name in ("K", "N", "bits", "block_size", "accuracy_level")]
    described = schema("MatMulNBits", "com.microsoft", 1, inputs=inputs, outputs=[schema.FormalParameter("Y", "T")],
                       type_constraints=[("T", *floats), ("C", *codes), ("I", ["tensor(int32)"], "places")],
                       attributes=attributes)
    return Op(Opset("com.microsoft", 1), "MatMulNBits", described)


MATMUL_OF_BLOCKS = _matmul_of_blocks()


def lookup_rows(codes: ir.Value, scale: ir.Value, ids: ir.Value, n_bits: int, embedding_dim: int) -> ir.Value:
    """Gather the codes, unpack them, and scale: DequantizeLinear for one id a row, Cast and Mul for lists of ids."""
    levels = op.Gather(codes, ids)
    if n_bits < 8:
        levels = _unpack(levels, n_bits, embedding_dim, rank=len(ids.shape))
    if len(scale.shape) == 0:
        return op.Mul(op.Cast(levels, to=FLOAT), scale)
    row_scale = op.Cast(op.Gather(scale, ids), to=FLOAT)
    if len(ids.shape) == 1:
        return op.DequantizeLinear(levels, row_scale, axis=0)
    return op.Mul(op.Cast(levels, to=FLOAT), op.Unsqueeze(row_scale, _ints(-1)))


def _unpack(codes: ir.Value, n_bits: int, embedding_dim: int, *, rank: int) -> ir.Value:
    """(…, P) uint8 → (…, D) int8 by a table of every byte's levels; leftover columns of the last byte are cut."""
    table = op.Constant(value=onnx.numpy_helper.from_array(byte_levels(n_bits)))
    width = packed_width(embedding_dim, n_bits) * (8 // n_bits)
    levels = op.Reshape(op.Gather(table, op.Cast(codes, to=INT32)), _ints(*[0] * rank, width))
    return levels if width == embedding_dim else op.Slice(levels, _ints(0), _ints(embedding_dim), _ints(rank))


def id_digit(ids: ir.Value, step: int, length: int) -> ir.Value:
    """Whole numbers divide without a remainder in ONNX, and no id is below zero."""
    shifted = op.Div(ids, _int(step)) if step > 1 else ids
    return op.Mod(shifted, _int(length)) if length else shifted


def linear_dynamic(x: ir.Value, weight: ir.Value, scale: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    """The pattern that ONNX Runtime fuses into one DynamicQuantizeMatMul on the CPU."""
    levels, x_scale, zero_point = op.DynamicQuantizeLinear(x)
    total = op.Cast(op.MatMulInteger(levels, weight, zero_point), to=FLOAT)
    result = op.Mul(total, op.Mul(x_scale, scale))
    return result if bias is None else op.Add(result, bias)


def linear_static(x: ir.Value, weight: ir.Value, scale: ir.Value, bias: ir.Value | None = None,
                  x_scale: float = 1.0, zero_point: int = 0) -> ir.Value:
    """Quantise and dequantise around a Gemm: the pattern that ONNX Runtime fuses into one QGemm on the CPU."""
    step = op.Constant(value=onnx.helper.make_tensor("step", FLOAT, (), [x_scale]))
    zero = op.Constant(value=onnx.helper.make_tensor("zero", onnx.TensorProto.UINT8, (), [zero_point]))
    rounded = op.DequantizeLinear(op.QuantizeLinear(x, step, zero), step, zero)
    # without zero points, even of 0, the Gemm isn't fused; constants, because CPUs without VNNI have them shifted
    width = int(weight.shape[1])
    zeros = op.Constant(value=onnx.helper.make_tensor("zeros", INT8, (width,), [0] * width))
    dense = op.DequantizeLinear(weight, scale, zeros, axis=1)
    if bias is None:
        return op.Gemm(rounded, dense)
    return op.Gemm(rounded, dense, op.DequantizeLinear(bias, op.Mul(step, scale), axis=0))


def linear_blocks(x: ir.Value, codes: ir.Value, scale: ir.Value, bias: ir.Value | None = None, n_bits: int = 4,
                  block_size: int = 32) -> ir.Value:
    """One contrib operator; the number of inputs is an attribute, because the last block may be filled up."""
    shape = {"K": int(x.shape[1]), "N": int(codes.shape[0]), "bits": n_bits, "block_size": block_size}
    given = (x, codes, scale) if bias is None else (x, codes, scale, None, None, bias)
    return MATMUL_OF_BLOCKS(*given, **shape, accuracy_level=ACCURACY_LEVEL)


def _int(value: int) -> ir.Value:
    return op.Constant(value=onnx.helper.make_tensor("int", onnx.TensorProto.INT64, (), [value]))


def _ints(*values: int) -> ir.Value:
    return op.Constant(value=onnx.helper.make_tensor("ints", onnx.TensorProto.INT64, (len(values),), values))


TRANSLATIONS: dict[Callable, Callable] = {
    torch.ops.recpress.id_digit.default: id_digit,
    torch.ops.recpress.lookup_rows.default: lookup_rows,
    torch.ops.recpress.linear_dynamic.default: linear_dynamic,
    torch.ops.recpress.linear_static.default: linear_static,
    torch.ops.recpress.linear_blocks.default: linear_blocks,
}
