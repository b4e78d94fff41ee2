"""Settings of operators that take memory or time by a number alone, bounded on the parsed graph. Loads no torch.

A window of a billion steps or a padding of terabytes is a few bytes in the file; no runtime gets to see it.
"""

from __future__ import annotations

from onnx import NodeProto, helper

from compression.spec.errors import ModelError

MAX_WINDOW = 4096  # width of a window, its steps, its gaps and the padding beside it
MAX_HIDDEN = 65_536
_WINDOWS = {"Conv", "MaxPool", "AveragePool", "LpPool"}
_WINDOW_SETTINGS = {"kernel_shape", "strides", "dilations", "pads"}
_RECURRENT = {"GRU", "LSTM", "RNN"}


def check_settings(node: NodeProto, where: str) -> None:
    """Raises ModelError where a setting is out of bounds; `where` names operator and file."""
    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute
                if node.op_type in _WINDOWS | _RECURRENT}
    if node.op_type in _WINDOWS:
        for name in settings.keys() & _WINDOW_SETTINGS:
            _check_window(name, settings[name], where)
    elif node.op_type in _RECURRENT:
        hidden = settings.get("hidden_size")
        if type(hidden) is not int or not 1 <= hidden <= MAX_HIDDEN:
            raise ModelError(f"{where} has hidden_size {str(hidden)[:40]}; a whole number up to {MAX_HIDDEN:,} is "
                             "read.")
        if settings.get("layout", 0) != 0:
            raise ModelError(f"{where} has layout {str(settings['layout'])[:40]}, which ONNX Runtime doesn't run. "
                             "Export it with layout 0 (time first).")


def _check_window(name: str, values: object, where: str) -> None:
    least = 0 if name == "pads" else 1
    if not isinstance(values, list | tuple) or len(values) > 6 or not all(
            type(value) is int and least <= value <= MAX_WINDOW for value in values):
        raise ModelError(f"{where} has {name} of {str(values)[:60]}; whole numbers from {least} to {MAX_WINDOW} are "
                         "read.")
