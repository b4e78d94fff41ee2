"""Every method before every other: what a recipe says about the two, held as a table.

A change of the table is a change of what recipes may be run: each letter that differs wants a reason. It is written
anew by `python -m tests.spec.test_order_table`.
"""

from __future__ import annotations

from pathlib import Path

from compression.spec.method import METHODS
from compression.spec.recipe import check
from compression.spec.records import Recipe, Step

TABLE = Path(__file__).with_suffix(".txt")
TRAINING = "train.fine_tune"
ORDERS = {"a, b": "ab", "a, training, b": "aTb"}
HEAD = """\
What a recipe of two methods says beyond what it says of each alone: E an error, w a warning.
A line for each first method a, a letter for each second method b, both in alphabetical order, at their settings `tiny`.
"""


def messages(*keys: str) -> set[tuple[str, str]]:
    """(severity, message) of every problem."""
    steps = tuple(Step(method=key, params=METHODS[key].tiny) for key in keys)
    return {(problem.severity, problem.message) for problem in check(Recipe(steps=steps))}


def letter(a: str, b: str, order: str) -> str:
    recipe = messages(*({"a": a, "b": b, "T": TRAINING}[mark] for mark in order))
    alone = messages(a) | messages(b) | (messages(a, TRAINING) if "T" in order else set())
    severities = {severity for severity, _ in recipe - alone}
    return "E" if "error" in severities else "w" if severities else "."


def written_table() -> str:
    lines = [HEAD]
    keys = sorted(METHODS)
    for title, order in ORDERS.items():
        lines.append(f"{title}\n")
        lines += [f"{a:26s}{''.join(letter(a, b, order) for b in keys)}" for a in keys]
        lines.append("")
    return "\n".join(lines)


def test_what_is_said_of_every_pair_of_methods_is_what_the_table_holds():
    assert written_table() == TABLE.read_text(encoding="utf-8")


if __name__ == "__main__":
    TABLE.write_text(written_table(), encoding="utf-8")
