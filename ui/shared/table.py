"""A table whose cells no spreadsheet runs: the browser's own CSV download writes what the table shows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from compression.data.cells import FORMULA

STARTS_FORMULA = re.compile(FORMULA)
# "-0.5", "+12 %", "-0.0010 to +0.0004": a sign before a number alone runs nothing
NUMBER = re.compile(r"\s*[+-]\s?[\d.,]*\d(?:e[+-]?\d+)?(?:\s?(?:%|×|[a-zA-Zµ]{1,6}))?(?: to [+-]?[\d.,]*\d)?\s*")


def draw_dataframe(data: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], **options: Any) -> Any:
    """`st.dataframe` of rows or of columns, every text defused."""
    if isinstance(data, Mapping):
        plain: Any = {defused(key): [defused(value) for value in values] for key, values in data.items()}
    else:
        plain = [{defused(key): defused(value) for key, value in row.items()} for row in data]
    return st.dataframe(plain, **options)


def defused(cell: Any) -> Any:
    """The cell; text that a spreadsheet would run as a formula gets a leading apostrophe."""
    if isinstance(cell, str) and STARTS_FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
