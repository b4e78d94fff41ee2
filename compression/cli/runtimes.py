"""What can run an exported file, and on which devices."""

from __future__ import annotations

import argparse

from compression.cli.given import Answer
from compression.spec.runtime import RUNTIMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("--markdown", action="store_true", help="as a table")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    if options.markdown:
        from compression.spec.catalogue import runtimes_markdown

        return {"markdown": runtimes_markdown()}, runtimes_markdown().rstrip()
    plain = [{"key": one.key, "title": one.title, "devices": one.devices, "packages": one.packages,
              "version": one.version} for one in RUNTIMES.values()]
    return plain, "\n".join(f"{one.key}: {one.title} {one.version or '(not installed)'} on {', '.join(one.devices)}"
                            for one in RUNTIMES.values())
