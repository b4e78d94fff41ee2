"""One break: a text of one file, what is put in its place, and the tests that should notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """`old` occurs exactly once in `file`; `tests` are files or node ids that pytest runs."""

    name: str
    what: str  # what the product would do wrong
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""  # why no test can notice; such a break is not made
