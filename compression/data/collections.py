"""Collections of text for search, told by content: what lies in them, and what they can be used for today.

BEIR (corpus.jsonl, queries.jsonl, qrels/*.tsv, loose or as a zip) and TREC (documents, topics, judgements). They are
counted, not imported: the task of this app scores rows of columns, and a model of text reads none.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from compression.spec.errors import DataError

MAX_UNPACKED = 4 << 30
MAX_LINES = 50_000_000
PART = 65_536  # bytes by which the kind of a file is told


@dataclass(frozen=True)
class Collection:
    """How many documents, queries and judgements the files hold, 0 where a kind is absent; `judged`: queries judged."""

    title: str
    documents: int
    queries: int
    judgements: int
    judged: int

    def sentence(self) -> str:
        found = [f"{count:,} {one if count == 1 else many}" for count, one, many in (
            (self.documents, "document", "documents"), (self.queries, "query", "queries"),
            (self.judgements, "judgement", "judgements")) if count]
        judged = f" of {self.judged:,} {'query' if self.judged == 1 else 'queries'}" if self.judgements else ""
        return (f"{self.title}: {', '.join(found)}{judged}. Models that read text are not measured yet, so it can't be "
                "saved as a dataset; today it can only be used as a table of query, document and features with a "
                "label, written by a tool of your own.")


def recognise_collection(paths: list[Path]) -> Collection | None:
    """What the files hold as a collection of text; None where they are something else, such as a table.

    Raises DataError for a zip that can't be read.
    """
    counts, titles, judged = {"document": 0, "query": 0, "judgement": 0}, set(), set()
    for path in paths:
        for lines in _opened(path):
            kind = _kind(lines)
            if kind is None:
                continue
            titles.add(kind.title)
            for key in kind.keys(lines()):
                counts[kind.counts] += 1
                if kind.counts == "judgement":
                    judged.add(key)
    if not titles or not (counts["document"] or counts["query"]):
        return None  # judgements alone are a table
    title = "A BEIR collection" if "BEIR" in titles else "A TREC collection"
    return Collection(title, counts["document"], counts["query"], counts["judgement"], len(judged))


@dataclass(frozen=True)
class _Kind:
    title: str
    counts: str
    fits: Callable[[str], bool]  # the first lines
    keys: Callable[[Iterator[str]], Iterator[str]]


def _kind(lines: Callable[[], Iterator[str]]) -> _Kind | None:
    head, taken = [], 0
    for line in lines():
        head.append(line)
        taken += len(line)
        if taken > PART:
            break
    text = "".join(head)
    return next((kind for kind in KINDS if kind.fits(text)), None)


def _opened(path: Path) -> Iterator[Callable[[], Iterator[str]]]:
    """The lines of a file, or of each file in a zip."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if not is_zip:
        yield lambda: _lines(path.open("rb"))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if sum(one.file_size for one in members) > MAX_UNPACKED or any(one.flag_bits & 1 for one in members):
                raise DataError(f"{path.name} is locked or unpacks to more than {MAX_UNPACKED >> 30} GB. Upload the "
                                "tables inside it.")
            for member in members:
                yield lambda member=member: _lines(archive.open(member))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        raise DataError(f"{path.name} can't be read as a zip. Zip it again, or upload the tables inside it.") from None


def _lines(file) -> Iterator[str]:
    with file:
        for number, line in enumerate(file):
            if number >= MAX_LINES:
                return
            yield line.decode("utf-8", "replace")


def _json_of(text: str) -> dict:
    first = text.split("\n", 1)[0]
    try:
        found = json.loads(first) if first.startswith("{") else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _each(pattern: str) -> Callable[[Iterator[str]], Iterator[str]]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda lines: (found[1] if compiled.groups else "" for line in lines for found in compiled.finditer(line))


QREL = r"^(\S+)[ \t]+\S+[ \t]+\S+[ \t]+-?\d+\s*$"
KINDS = (
    _Kind("BEIR", "document", lambda text: {"_id", "text", "title"} <= set(_json_of(text)), _each(r'^\{')),
    _Kind("BEIR", "query", lambda text: {"_id", "text"} <= set(_json_of(text)), _each(r"^\{")),
    _Kind("BEIR", "judgement", lambda text: text.startswith("query-id\tcorpus-id\tscore"),
          _each(r"^(?!query-id)([^\t]+)\t[^\t]+\t-?\d+\s*$")),
    _Kind("TREC", "document", lambda text: bool(re.search(r"<doc>\s*<docno>", text, re.IGNORECASE)), _each("<docno>")),
    _Kind("TREC", "query", lambda text: bool(re.search(r"<top>\s*<num>", text, re.IGNORECASE)), _each("<num>")),
    _Kind("TREC", "judgement", lambda text: all(re.match(r"\S+[ \t]+(0|Q0)[ \t]+\S+[ \t]+-?\d+\s*$", line)
                                                for line in text.splitlines()[:50]) and bool(text.strip()),
          _each(QREL)),
)
