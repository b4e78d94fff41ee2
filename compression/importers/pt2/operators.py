"""What a `.pt2` graph may call: operators that compute and nothing else, by name.

Anything that reads files, makes random numbers that matter, or keeps state between calls is absent; what is written in
place (`masked_fill_`) is a value of this one call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_LAYERS = """embedding.default linear.default addmm.default mm.default bmm.default baddbmm.default matmul.default
 outer.default einsum.default layer_norm.default native_layer_norm.default batch_norm.default
 _native_batch_norm_legit_no_training.default embedding_bag.padding_idx embedding_bag.default
 _embedding_bag_forward_only.default _embedding_bag.default conv1d.default conv1d.padding conv2d.default
 conv2d.padding convolution.default dropout.default scaled_dot_product_attention.default
 _scaled_dot_product_flash_attention_for_cpu.default gru.input lstm.input cosine_similarity.default max_pool1d.default
 max_pool2d.default max_pool1d_with_indices.default max_pool2d_with_indices.default avg_pool1d.default
 avg_pool2d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default _adaptive_avg_pool2d.default
 adaptive_max_pool1d.default adaptive_max_pool2d.default"""
_ACTIVATIONS = """relu.default gelu.default silu.default sigmoid.default tanh.default elu.default leaky_relu.default
 prelu.default hardtanh.default softmax.int _softmax.default log_softmax.int _log_softmax.default _safe_softmax.default
 logsumexp.default softplus.default"""
_ARITHMETIC = """add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar
 pow.Tensor_Scalar pow.Scalar sqrt.default rsqrt.default exp.default log.default log1p.default abs.default neg.default
 erf.default reciprocal.default maximum.default minimum.default clamp.default clamp_min.default clamp_max.default
 floor_divide.default remainder.Scalar floor.default round.default sin.default cos.default"""
_CHOICES = """where.self where.ScalarOther where.ScalarSelf where.Scalar masked_fill.Scalar masked_fill_.Scalar
 masked_fill.Tensor eq.Scalar ne.Scalar gt.Scalar ge.Scalar lt.Scalar le.Scalar eq.Tensor ne.Tensor gt.Tensor ge.Tensor
 lt.Tensor le.Tensor logical_not.default logical_and.default logical_or.default bitwise_not.default bitwise_and.Tensor
 bitwise_or.Tensor __and__.Tensor __or__.Tensor isnan.default any.dim any.dims all.dim"""
_REDUCTIONS = """sum.default sum.dim_IntList mean.default mean.dim amax.default amin.default max.dim cumsum.default
 linalg_vector_norm.default var.correction std.correction argmax.default topk.default"""
_SHAPES = """cat.default stack.default split.Tensor split_with_sizes.default chunk.default unbind.int select.int
 slice.Tensor index.Tensor index_select.default gather.default narrow.default unfold.default view.default
 reshape.default _unsafe_view.default flatten.using_ints unflatten.int squeeze.dim squeeze.dims squeeze.default
 unsqueeze.default expand.default expand_as.default repeat.default clone.default contiguous.default alias.default
 detach.default detach_.default lift_fresh_copy.default t.default numpy_T.default transpose.int permute.default
 triu.default tril.default diagonal.default one_hot.default copy.default constant_pad_nd.default to.dtype
 to.dtype_layout to.device _to_copy.default type_as.default"""
_MAKING = """arange.default arange.start arange.start_step ones.default zeros.default full.default ones_like.default
 zeros_like.default full_like.default new_ones.default new_zeros.default new_full.default scalar_tensor.default
 tril_indices.default triu_indices.default sym_size.int sym_numel.default"""

ATEN = frozenset(" ".join((_LAYERS, _ACTIVATIONS, _ARITHMETIC, _CHOICES, _REDUCTIONS, _SHAPES, _MAKING)).split())
PYTHON: dict[str, Callable[..., Any]] = {
    "_operator.getitem": operator.getitem, "_operator.mul": operator.mul, "_operator.add": operator.add,
    "_operator.sub": operator.sub, "_operator.floordiv": operator.floordiv, "_operator.eq": operator.eq,
}
CHECKS = frozenset(("_assert_tensor_metadata.default", "_assert_scalar.default", "sym_constrain_range_for_size.default",
                    "sym_constrain_range.default"))  # left out: they compute nothing
TEXTS = frozenset(("none", "tanh", "mean", "sum", "floor", "trunc", "same", "valid"))  # of gelu, division, padding
