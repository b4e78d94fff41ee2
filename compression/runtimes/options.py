"""Options that every ONNX Runtime session of ours shares: what is checked, measured and shipped is one thing."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from compression.spec.records import GraphOptimization

if TYPE_CHECKING:
    import onnxruntime

# CPUs without VNNI add 8-bit products in 16 bits, which overflow; there the runtime then takes slower exact ones
EXACT_PRODUCTS = ("session.x64quantprecision", "1")
# y = MatMulInteger(x uint8, w int8), a whole ONNX file; predict.py holds the same bytes
PRODUCTS = "CAo6PgoYCgF4CgF3EgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWgkKAXgSBAoCCAJaCQoBdxIECgIIA2IJCgF5EgQKAggGQgQKABAV"

# how far the runtime rewrites a graph when it loads it; the script of a bundle knows the same names
LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED", "basic": "ORT_ENABLE_BASIC",
          "none": "ORT_DISABLE_ALL"}


def session_options(*, threads: int = 1,
                    graph_optimization: GraphOptimization = "all") -> "onnxruntime.SessionOptions":
    """Fresh options: `threads` inside an operator, operators one after another, errors alone in the log.

    8-bit products are exact: where the CPU's own are, those, which are several times faster.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[graph_optimization])
    if products_overflow():
        options.add_session_config_entry(*EXACT_PRODUCTS)
    return options


@cache
def products_overflow() -> bool:
    """Whether this CPU's fast 8-bit products get the largest ones wrong; asked by multiplying, once a process."""
    import onnxruntime

    session = onnxruntime.InferenceSession(base64.b64decode(PRODUCTS), providers=["CPUExecutionProvider"])
    given = {"x": np.full((16, 64), 255, np.uint8), "w": np.full((64, 32), 127, np.int8)}
    return bool((session.run(None, given)[0] != 64 * 255 * 127).any())
