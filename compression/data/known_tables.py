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
RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
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


def plain_name(name: str) -> str:
    """The name without its type, as RecBole's atomic files have it: "user_id:token" → "user_id"."""
    stem, colon, kind = name.rpartition(":")
    return stem if colon and kind in RECBOLE_TYPES else name


def _is_rating(cell: str) -> bool:
    return bool(re.fullmatch(r"(10|\d)(\.\d+)?", cell))


def _is_time(cell: str) -> bool:
    return bool(re.fullmatch(r"[5-9]\d{8}|[1-4]\d{9}|[1-4]\d{12}", cell))
