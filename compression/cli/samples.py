"""The samples, or one of them fetched into a folder."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from compression.cli.given import Answer, progress_of
from compression.spec.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("key", nargs="?", help="sample to fetch; without it, the list")
    parser.add_argument("--out", type=Path)


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.data.samples import SAMPLES, fetch_sample

    if options.key is None:
        plain = [asdict(sample) for sample in SAMPLES.values()]
        return plain, "\n".join(f"{sample.key:16} {sample.summary}" for sample in SAMPLES.values())
    if options.key not in SAMPLES:
        raise DataError(f"There is no sample {options.key!r}; it is one of: {', '.join(SAMPLES)}.")
    if options.out is None:
        raise DataError("Say where to put the sample: --out DIR.")
    options.out.mkdir(parents=True, exist_ok=True)
    folder = fetch_sample(options.key, options.out, progress_of(options))
    return {"folder": str(folder)}, f"{SAMPLES[options.key].title} is in {folder}.\n{SAMPLES[options.key].terms}"
