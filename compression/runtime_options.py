"""Options that every ONNX Runtime session of ours shares: what is checked, measured and shipped is one thing."""

from __future__ import annotations

import onnxruntime

# CPUs without VNNI add 8-bit products in 16 bits, which overflow; there the runtime then takes slower exact ones
EXACT_PRODUCTS = ("session.x64quantprecision", "1")


def session_options(*, threads: int = 1) -> onnxruntime.SessionOptions:
    """Fresh options: `threads` inside an operator, operators one after another, errors alone in the log."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_PRODUCTS)
    return options
