"""A Params class as widgets: sliders, selects and toggles, with bounds and help read from its fields.

    chosen = params_form(MagnitudeParams, key="step3")     # {"sparsity": 0.5, "scope": "layer"}

Bounds live once, in the class: a slider ends where the validator does. What widget a field gets is
decided by `control()`, which knows nothing of streamlit and is tested on its own.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import streamlit as st
from pydantic import BaseModel

from ui.shared.escape import escaped

SHOWN_FIRST = 5  # fields before the rest fold away
WIDE_RANGE = 500  # upper / lower from which a slider counts in 1-2-5 steps (whole numbers: in powers of two)
MANY_VALUES = 1_000_000  # whole-number ranges above this are typed, not slid


@dataclass(frozen=True)
class Control:
    """The widget of one parameter: what it is called, what it may be, where it starts."""

    name: str
    label: str
    help: str
    kind: Literal["toggle", "select", "slider", "steps", "number", "list", "text"]
    default: Any
    lower: float | None = None
    upper: float | None = None
    step: float | None = None
    options: tuple[Any, ...] = ()
    whole: bool = False


def controls(params_class: type[BaseModel]) -> list[Control]:
    """One control for each field, in the order of the class."""
    schema = params_class.model_json_schema()
    return [control(params_class, name, schema) for name in params_class.model_fields]


def control(params_class: type[BaseModel], name: str, schema: dict | None = None) -> Control:
    """The control of one field, from its type, bounds, multiple_of and description."""
    schema = schema or params_class.model_json_schema()
    field = params_class.model_fields[name]
    prop = _resolved(schema["properties"][name], schema)
    default = None if field.is_required() else plain(field.get_default(call_default_factory=True))
    base = {"name": name, "label": field.title or name.replace("_", " ").capitalize(), "help": field.description or "",
            "default": default}
    if prop.get("type") == "boolean":
        return Control(**{**base, "default": bool(default)}, kind="toggle")
    options = prop.get("enum") or ([prop["const"]] if "const" in prop else None)
    if options:
        return Control(**{**base, "default": options[0] if default is None else default}, kind="select",
                       options=tuple(options))
    if prop.get("type") in ("integer", "number"):
        return _number(base, prop)
    if prop.get("type") == "array":
        return Control(**base, kind="list", whole=_resolved(prop.get("items", {}), schema).get("type") == "integer")
    return Control(**base, kind="text")


def _resolved(prop: dict, schema: dict) -> dict:
    """A property with its $ref followed; of `X | None` the X."""
    if "anyOf" in prop:
        prop = next((one for one in prop["anyOf"] if one.get("type") != "null"), prop)
    if "$ref" in prop:
        prop = schema["$defs"][prop["$ref"].split("/")[-1]]
    return prop


def _number(base: dict, prop: dict) -> Control:
    whole = prop["type"] == "integer"
    one = 1 if whole else 0
    lower = prop.get("minimum", prop["exclusiveMinimum"] + one if "exclusiveMinimum" in prop else None)
    upper = prop.get("maximum", prop["exclusiveMaximum"] - one if "exclusiveMaximum" in prop else None)
    step = prop.get("multipleOf")
    default = base["default"] if base["default"] is not None else lower or 0
    base = {**base, "default": int(default) if whole else float(default)}
    if lower is None or upper is None or (whole and step is None and upper - lower > MANY_VALUES):
        return Control(**base, kind="number", lower=lower, upper=upper, step=step, whole=whole)
    options = () if step else graded_values(lower, upper, base["default"], whole=whole)
    if options:
        return Control(**base, kind="steps", lower=lower, upper=upper, options=options, whole=whole)
    return Control(**base, kind="slider", lower=lower, upper=upper, whole=whole,
                   step=step or (1 if whole else _nice_step(lower, upper)))


def graded_values(lower: float, upper: float, default: float, *, whole: bool) -> tuple[float, ...]:
    """Values for a range too wide for even steps: powers of two, or 1-2-5 a decade. Empty where even steps do.

    A float range that starts at 0 is graded when its default is far below its upper end, and keeps 0.
    """
    wide = lower > 0 and upper / lower >= WIDE_RANGE
    from_zero = not whole and lower == 0 and 0 <= default <= upper / 100
    if not (wide or from_zero or (whole and lower == 0 and upper >= WIDE_RANGE)):
        return ()
    values = {lower, upper, default}
    if whole:
        values |= {2**power for power in range(0, int(upper).bit_length()) if lower <= 2**power <= upper}
        return tuple(sorted(int(value) for value in values))
    first = lower if lower > 0 else min(default, upper / 1000) or upper / 1e5
    for power in range(math.floor(math.log10(first)), math.ceil(math.log10(upper)) + 1):
        values |= {float(f"{lead}e{power}") for lead in (1, 2, 5) if first <= float(f"{lead}e{power}") <= upper}
    return tuple(sorted(values))


def _nice_step(lower: float, upper: float) -> float:
    """About a hundred steps, each a round number."""
    return float(f"1e{math.floor(math.log10((upper - lower) / 50))}") if upper > lower else 1.0


def plain(value: Any) -> Any:
    """A value as JSON has it: enums by their value, tuples as lists."""
    if isinstance(value, Enum):
        return value.value
    return [plain(one) for one in value] if isinstance(value, (tuple, list)) else value


def parse_list(text: str, *, whole: bool) -> list[float]:
    """Numbers of "256, 128 64". Raises ValueError for anything else."""
    return [int(part) if whole else float(part) for part in text.replace(",", " ").split()]


def format_number(value: float) -> str:
    """A number as a person writes it: 4096, 0.001, 1e-05."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def params_form(params_class: type[BaseModel], key: str, values: dict | None = None, *, columns: int = 1) -> dict:
    """Draw one widget for each field and give the chosen values, ready for `params_class(**chosen)`.

    `values` are where the widgets start (a recipe's step, a cloned run); later the widgets hold their own state
    under `key`. Fields beyond the first five fold away, with their values stated on the fold. `columns` sets the
    first fields side by side.
    """
    chosen: dict[str, Any] = {}
    found = controls(params_class)
    shown, folded = (found, []) if len(found) <= SHOWN_FIRST + 1 else (found[:SHOWN_FIRST], found[SHOWN_FIRST:])
    places = st.columns(columns, gap="medium") if columns > 1 and len(shown) > 1 else None
    for index, one in enumerate(shown):
        with places[index % columns] if places else nullcontext():
            chosen[one.name] = draw_control(one, key, (values or {}).get(one.name, one.default))
    if folded:
        starts = {one.name: (values or {}).get(one.name, one.default) for one in folded}
        with st.expander("More options: " + ", ".join(
                f"{one.label.lower()} {_stated(starts[one.name])}" for one in folded)):
            for one in folded:
                chosen[one.name] = draw_control(one, key, starts[one.name])
    return chosen


def _stated(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return format_number(value) if isinstance(value, (int, float)) else str(value)


def draw_control(one: Control, key: str, start: Any) -> Any:
    """Draw one control under `key`.`name`, starting at `start`, and give its value."""
    widget = f"{key}.{one.name}"
    st.session_state.setdefault(widget, _starting(one, plain(start)))
    common = {"key": widget, "help": one.help or None}
    if one.kind == "toggle":
        return st.toggle(one.label, **common)
    if one.kind == "select":
        if len(one.options) <= 4 and sum(len(str(option)) for option in one.options) <= 32:
            picked = st.segmented_control(one.label, one.options, required=True, **common)
            return one.default if picked is None else picked
        return st.selectbox(one.label, one.options, **common)
    if one.kind == "steps":
        return st.select_slider(one.label, one.options, format_func=format_number, **common)
    if one.kind == "slider":
        return _slider(one, common)
    if one.kind == "number":
        return st.number_input(one.label, min_value=one.lower, max_value=one.upper, step=1 if one.whole else None,
                               **common)
    if one.kind == "list":
        text = st.text_input(one.label, **common)
        try:
            return parse_list(text, whole=one.whole)
        except ValueError:
            st.error(f"{one.label} takes numbers separated by commas; got {escaped(repr(text))}.")
            return plain(one.default)
    return st.text_input(one.label, **common)


def _slider(one: Control, common: dict) -> float:
    if one.whole:
        return st.slider(one.label, int(one.lower), int(one.upper), step=int(one.step), **common)
    decimals = max(0, -math.floor(math.log10(one.step) + 1e-9))
    value = st.slider(one.label, float(one.lower), float(one.upper), step=float(one.step), format=f"%.{decimals}f",
                      **common)
    return round(value, decimals)  # 0.30000000000000004 is not a multiple of 0.01


def _starting(one: Control, value: Any) -> Any:
    """`value` as the widget wants it: inside the bounds, one of the options, a list as text."""
    if one.kind == "list":
        return ", ".join(format_number(part).replace(",", "") for part in value or ())
    if one.kind == "select":
        return value if value in one.options else one.default
    if one.kind == "steps":
        return min(one.options, key=lambda option: abs(option - value))
    if one.kind == "slider":
        value = min(max(value, one.lower), one.upper)
        return int(value) if one.whole else float(value)
    return value
