"""Names out of names: columns, tensors and inputs may be called anything, attributes of modules may not. No torch."""

from __future__ import annotations

import keyword
import re
from collections.abc import Container
from itertools import count

PRODUCER = "recpress"  # what a graph that was exported here says it was made by
BUNDLE = "bundle.zip"  # of the files of a finished run
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")  # of every file that comes in


def attribute_name(text: str) -> str:
    """The text with letters, digits and _ alone, and no word of Python's own: torch writes code with these names."""
    plain = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in text)
    return plain + "_" if keyword.iskeyword(plain) else plain


def within(title: str) -> str:
    """A title inside a sentence: "log loss"; AUC stays AUC."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def free_name(wanted: str, taken: Container[str]) -> str:
    """`wanted`, or the first of wanted_1, wanted_2 … that is not taken."""
    if wanted not in taken:
        return wanted
    return next(name for number in count(1) if (name := f"{wanted}_{number}") not in taken)
