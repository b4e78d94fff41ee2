"""Guess a description of a data file, and write it as data.yaml."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from compression.cli.given import Answer
from compression.spec.data_description import DataDescription, Encoding
from compression.spec.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", help="of the dataset; the file's by default")
    parser.add_argument("--encoding", choices=typing.get_args(Encoding), help="of text that is not UTF-8")
    parser.add_argument("--companion", type=Path, help="the file beside it that says more of its rows: sizes "
                                                        "of queries, one a line, or the judgements (qrels) of a run")
    parser.add_argument("--out", type=Path, help="where to write it; data.yaml beside the file by default")
    parser.add_argument("--negatives", type=int, metavar="N", help="draw N items beside each row of a log of positives")
    parser.add_argument("--by", choices=("uniform", "popularity"), default="uniform", help="how negatives are drawn")
    parser.add_argument("--history", type=int, metavar="L", help="make a column of the user's last L items")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.data.description import FILE_NAME, dump_description
    from compression.data.guess import guess_description
    from compression.data.propose import notes_on, with_companions, with_history, with_negatives

    found = guess_description(options.file, options.name or options.file.name.split(".")[0], encoding=options.encoding)
    if options.companion is not None:
        if not options.companion.is_file() or options.companion.resolve().parent != options.file.resolve().parent:
            raise DataError(f"There is no file {options.companion.name} in the folder of {options.file.name}: a "
                            "companion lies beside its file. Copy it there.")
        found = with_companions(found, {options.file.name: options.companion.name})
    if options.negatives is not None:
        found = with_negatives(found, per_positive=options.negatives, by=options.by)
    if options.history is not None:
        found = with_history(found, last=options.history)
    out = options.out or options.file.with_name(FILE_NAME)
    if out.exists():
        raise DataError(f"{out} is there already and was left as it is. Remove it, or name another file with --out.")
    notes = [" ".join(note.split()) for note in (*notes_on(found), *_open_question(found))]  # a line each
    text = dump_description(found, unset_left_out=True)
    out.write_text("".join(f"# {note}\n" for note in notes) + text, encoding="utf-8")
    return ({"file": str(out), "description": found.model_dump(mode="json"), "notes": notes},
            "\n".join([text, *notes, f"Written to {out}. Read it through, and correct what was guessed wrong."]))


def _open_question(found: DataDescription) -> list[str]:
    """What has to be answered before the description can be used."""
    from compression.data.description import check_description

    try:
        check_description(found)
    except DataError as error:
        return [f"To be completed: {error}"]
    return []
