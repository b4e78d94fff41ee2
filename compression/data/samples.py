"""The samples that a newcomer starts with, and how each is obtained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compression.data.click_log import generate_click_log
from compression.data.movielens import TERMS, fetch_movielens
from compression.spec.errors import DataError
from compression.spec.records import Progress, Report


@dataclass(frozen=True)
class Sample:
    """A sample dataset as the pages offer it."""

    key: str
    title: str
    summary: str
    terms: str
    source: str


SAMPLES: dict[str, Sample] = {
    "movielens-100k": Sample(
        key="movielens-100k",
        title="MovieLens-100K",
        summary="100,000 ratings by 943 people of 1,682 films, 1997–98, as a click task: positive from 4 stars on. "
                "User, item, age, gender, occupation, genres, release year, hour; each user's latest rows are test.",
        terms=TERMS,
        source="GroupLens Research, University of Minnesota; read out of the recbole 1.2.1 package, or from "
               "files.grouplens.org",
    ),
    "generated": Sample(
        key="generated",
        title="Generated click log",
        summary="100,000 clicks of 2,000 users on 1,000 items with planted structure and Zipf popularity. The true "
                "chance of every click is known, so the best possible AUC is too. Needs no network.",
        terms="Generated on this machine; free to use.",
        source="compression/data/click_log.py",
    ),
}

FALLBACK_NAME = "Generated click log (in place of MovieLens-100K)"


def fetch_sample(key: str, folder: Path, report: Report, *, fallback: bool = False, seed: int = 0) -> Path:
    """Write a sample into `folder` (data.yaml and a CSV), and give the folder.

    With `fallback`, a sample that can't be fetched is replaced by the generated one: the report says so, and the
    dataset's name does. Raises DataError on an unknown key, and without `fallback` where no source answers.
    """
    if key not in SAMPLES:
        raise DataError(f"There is no sample '{key}'; there are: {', '.join(SAMPLES)}. Choose one of these.")
    if key == "generated":
        report(Progress(stage="generate", message="Generated click log"))
        return generate_click_log(folder, seed=seed)
    try:
        return fetch_movielens(folder, report)
    except DataError as error:
        if not fallback:
            raise
        report(Progress(stage="generate", message=f"The generated click log is used instead. {error}"))
        return generate_click_log(folder, seed=seed, name=FALLBACK_NAME)
