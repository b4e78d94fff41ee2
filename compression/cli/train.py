"""Train a reference model on a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from compression.cli.given import Answer, add_events, assignments, data_folder, events_folder, progress_of
from compression.spec.errors import ModelError
from compression.spec.records import TrainSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--architecture", default="deepfm")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the architecture")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the training")
    parser.add_argument("--tune", type=int, nargs="?", const=8, default=0, metavar="N",
                        help="first choose rate, decay and dropout by N short trainings (8) on validation rows")
    add_events(parser)
    parser.add_argument("--seed", type=int, default=0)


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.data.description import load_description
    from compression.data.propose import drawn_words
    from compression.models.zoo import ARCHITECTURES
    from compression.running.reference import train_reference, training_sentence

    if options.architecture not in ARCHITECTURES:
        raise ModelError(
            f"There is no architecture {options.architecture!r}; it is one of: {', '.join(ARCHITECTURES)}."
        )
    spec = TrainSpec(
        data="file",
        architecture=options.architecture,
        config=assignments(options.config),
        training=assignments(options.set),
        tune=options.tune,
        seed=options.seed,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    folder, description, notes = train_reference(
        spec, data_folder=data_folder(options.data), folder=options.out, report=progress_of(options),
        events=events_folder(options),
    )
    look, drawn = notes["first_look"], drawn_words(load_description(options.data))
    answer = {"model": str(folder), "size_bytes": description.size_bytes,
              "training": notes | {"first_look": look.model_dump(mode="json")}, "notes": [drawn] if drawn else []}
    told = [f"The model is in {folder}: {description.size_bytes:,} bytes exported; {training_sentence(notes)}",
            notes.get("tuned", ""), notes["test_quality"], *look.hints, *answer["notes"]]
    return answer, "\n".join(filter(None, told))
