"""Tables that are published without names of columns, or with types in them: told by what the rows hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

CRITEO = ("label", *(f"I{k}" for k in range(1, 14)), *(f"C{k}" for k in range(1, 27)))
AVAZU = ("id", "click", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain",
         "app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
         *(f"C{k}" for k in range(14, 22)))
RATINGS = ("user", "item", "rating", "timestamp")
CLICKS = ("user", "item", "category", "behavior", "timestamp")
RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
MOST = 0.9  # of the rows: a query may be a single word
_LOOKED_AT = 500  # rows


@dataclass(frozen=True)
class KnownTable:
    """Names of the columns, the delimiters it comes with, and what every row has to look like."""

    title: str
    names: tuple[str, ...]
    delimiters: str
    fits: Callable[[list[str]], bool]


KNOWN = (
    KnownTable("Criteo", CRITEO, "\t", lambda row: row[0] in ("0", "1")),
    KnownTable("Avazu", AVAZU, ",", lambda row: row[1] in ("0", "1") and bool(re.fullmatch(r"1[45]\d{6}", row[2]))),
    KnownTable("Taobao", CLICKS, ",", lambda row: row[3] in ("pv", "buy", "cart", "fav") and _is_time(row[4])),
    KnownTable("ratings of MovieLens or Amazon", RATINGS, ",\t::", lambda row: _is_rating(row[2]) and _is_time(row[3])),
)


def names_of(rows: list[list[str]], delimiter: str) -> list[str]:
    """Names for the columns of a headerless table that is known; empty for any other."""
    rows = rows[:_LOOKED_AT]
    for table in KNOWN:
        if len(rows[0]) == len(table.names) and delimiter in table.delimiters and all(
                len(row) == len(table.names) and table.fits(row) for row in rows):
            return list(table.names)
    return []


@dataclass(frozen=True)
class NoLog:
    """A published table that no model here learns from: what nearly every row looks like, and what is said of it."""

    columns: int
    fits: Callable[[list[str]], bool]
    sentence: str
    of_names: str = ""  # a word in the file's name, without which the rows don't say enough


NO_LOGS = (
    NoLog(8, lambda row: bool(re.fullmatch(r"N\d+", row[0])) and row[5].startswith("http") and row[7][:1] == "[",
          "holds the news of MIND: identifier, category, subcategory, title, abstract. It says of nobody what they "
          "read. Upload behaviors.tsv: the items that it shows are identifiers of this file."),
    NoLog(3, lambda row: _is_text(row[1]) and _is_text(row[2]),
          "holds triples, as MS MARCO publishes them: a query, a passage that answers it and one that does not, as "
          "text. Models here read identifiers, numbers and lists of token ids. Write two rows for each line, with the "
          "passage that answers labelled 1 and the other 0, and the texts as lists of token ids.", of_names="triples"),
    NoLog(2, lambda row: row[0].isdecimal() and _is_text(row[1]),
          "holds texts by number, as MS MARCO publishes its queries and passages, and says of none what happened. "
          "Upload judgements (qrels) of them, or a run of TREC together with its judgements."),
)


def no_log(rows: list[list[str]], delimiter: str, file: str) -> str:
    """What to say of a table that is known and no log; "" for any other."""
    rows = rows[:_LOOKED_AT] if delimiter == "\t" else []
    for known in NO_LOGS:
        alike = known.of_names in file.lower() and all(len(row) == known.columns for row in rows)
        if rows and alike and sum(map(known.fits, rows)) >= MOST * len(rows):
            return known.sentence
    return ""


def plain_name(name: str) -> str:
    """The name without its type, as RecBole's atomic files have it: "user_id:token" → "user_id"."""
    stem, colon, kind = name.rpartition(":")
    return stem if colon and kind in RECBOLE_TYPES else name


def _is_text(cell: str) -> bool:
    """Whether it has several words."""
    return len(cell.split()) > 1 and bool(re.search(r"[^\W\d_]{2}", cell))


def _is_rating(cell: str) -> bool:
    return bool(re.fullmatch(r"(10|\d)(\.\d+)?", cell))


def _is_time(cell: str) -> bool:
    return bool(re.fullmatch(r"[5-9]\d{8}|[1-4]\d{9}|[1-4]\d{12}", cell))
