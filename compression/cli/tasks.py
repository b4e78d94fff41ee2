"""What a model can be for, and what each task decides."""

from __future__ import annotations

import argparse

from compression.cli.given import Answer
from compression.spec.task import TASKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("--markdown", action="store_true", help="as a table")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    if options.markdown:
        from compression.spec.catalogue import tasks_markdown

        return {"markdown": tasks_markdown()}, tasks_markdown().rstrip()
    return ([one.model_dump(mode="json") for one in TASKS.values()],
            "\n".join(f"{one.key}: {one.title}, by {', '.join(one.metrics)}" for one in TASKS.values()))
