"""Read the words of a command, carry it out, print what it gives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from pydantic import ValidationError

from compression.cli import bundle, describe, inspect, methods, run, runtimes, samples, tasks, train
from compression.importers.format import FORMATS
from compression.spec.errors import RecPressError
from compression.spec.method import METHODS
from compression.spec.runtime import RUNTIMES
from compression.spec.task import TASKS

COMMANDS = (samples, describe, inspect, methods, runtimes, tasks, train, run, bundle)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0, or a one-line error and 2."""
    try:
        options = _parser().parse_args(arguments)
        answer, text = options.command(options)
        warn_of_left_out()
    except ValidationError as error:  # of a record that options are put into
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}, got {str(item['input'])[:80]}"
                         for item in error.errors())
        print(f"UsageError: {said}.", file=sys.stderr)
        return 2
    except RecPressError as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{type(error).__name__}: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr
        )
        return 2
    print(json.dumps(answer, indent=2) if options.json else text)
    return 0


def warn_of_left_out() -> None:
    """Name on standard error the plug-ins that the command met and couldn't use."""
    for registry in (METHODS, TASKS, FORMATS, RUNTIMES):
        for problem in registry.problems if registry.is_loaded else ():
            print(f"Warning: {problem}", file=sys.stderr)


class UsageError(RecPressError):
    """Words of a command that can't be understood."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m compression", description="Compress ranking models, honestly measured.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = commands.add_parser(module.__name__.rpartition(".")[2], help=module.__doc__)
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
        command.set_defaults(command=module.execute)
        module.add_arguments(command)
    return parser
