"""What the columns of a table are for, by their names and their first values: roles, label, split."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from compression.data.cells import COMMA_NUMBER, MISSING, NUMBER, list_in
from compression.data.column_names import (
    MAYBE,
    ROW_KEYS,
    SCALES,
    is_of_a_flag,
    is_of_a_reaction,
    is_of_codes,
    is_of_events,
    is_of_parts,
    is_of_quantities,
    is_of_weights,
    is_written_afterwards,
    joined,
    named,
)
from compression.data.columns import as_text, times
from compression.data.known_tables import CRITEO
from compression.spec.data_description import NO_LABEL, Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError

MULTI_SEPARATORS = ("|", ";", " ", ",")
EPOCH = ((5e8, 5e9), (5e11, 5e12), (5e14, 5e15))  # seconds, milliseconds, microseconds since 1970
MANY_IDS, DENSE = 100, 0.3  # whole numbers of a headerless table are ids where so many fill so much of their range
TEXT_CHARS, TEXT_WORDS = 30, 5  # of half the cells of free text
SOME_COMMAS = 0.2  # share of cells with a decimal comma, as in a column of prices
LISTS = 200  # cells that are looked at for lists in brackets
FEWEST_ROWS = 20  # by which a column is told to count the rows
MOST_PARTS, FEW_WEIGHTS, MOST_GRADES = 10, 20, 10
NUMERIC = (Role.NUMBER, Role.LABEL, Role.WEIGHT)
COUNT = "cnt"  # a label where nothing else says what happened
FEW_NUMBERS = 31  # whole numbers with at most so many values are categories


@dataclass(frozen=True)
class _Facts:
    """What the first rows say about one column."""

    name: str
    values: pl.Series  # text, null where missing
    numbers: pl.Series | None  # float64 where every present value is a number
    distinct: int
    decimal: str = "."

    @property
    def whole(self) -> bool:
        return self.numbers is not None and bool((self.numbers == self.numbers.floor()).all())

    @property
    def consecutive(self) -> bool:
        """Whether it counts the rows: whole numbers that all differ and leave no gap."""
        return (self.whole and len(self.values) >= FEWEST_ROWS and self.distinct == len(self.values)
                and self.numbers.max() - self.numbers.min() == self.distinct - 1)

    @property
    def flag(self) -> bool:
        """Whether it holds 0 and 1, and nothing else."""
        return self.numbers is not None and set(self.numbers.unique()) == {0.0, 1.0}


def described_frame(frame: pl.DataFrame, file: str, name: str, *, format: str, delimiter: str | None = None,
                    header: bool = True) -> DataDescription:
    """The description of the first rows of a file: roles by names and contents, a label, a split.

    Where nothing says which column is the label, none is: the description can't be saved until a person names it.
    """
    facts = [_facts(frame[column]) for column in frame.columns]
    roles = {fact.name: _role(fact, frame[fact.name].dtype) for fact in facts}
    for fact in facts:  # without a name, only the numbers themselves can say that they are ids
        if not header and roles[fact.name][0] is Role.NUMBER and _looks_like_ids(fact):
            roles[fact.name] = (Role.CATEGORY, " ")
    label = _pick_label(facts, header=header)
    finer = sorted(facts, key=lambda fact: -fact.distinct)  # of a day and a moment, the moment orders the rows
    for role in (Role.LABEL, Role.USER, Role.TIME):  # one of each; a second item stays an item
        alike = [fact.name for fact in (finer if role is Role.TIME else facts) if roles[fact.name][0] is role]
        for column in alike[1:]:
            roles[column] = (Role.CATEGORY if role is Role.USER else Role.IGNORE, " ")
    for fact in facts:  # another column of what happened would give the answer away
        if roles[fact.name][0] is Role.LABEL or (
                fact.flag and (is_of_a_flag(fact.name) or is_of_a_reaction(fact.name))):
            roles[fact.name] = (Role.IGNORE, " ")
    if label:
        roles[label.name] = (Role.LABEL, " ")
    decimals = {fact.name: fact.decimal for fact in facts}
    columns = tuple(Column(name=column, role=role, separator=separator,
                           decimal=decimals[column] if role in NUMERIC else ".")
                    for column, (role, separator) in roles.items())
    timed = next((fact for fact in facts if roles[fact.name][0] is Role.TIME), None)
    by_time = timed is not None and timed.distinct >= 20 and timed.values.null_count() == 0
    return DataDescription(name=name, files={"all": file}, format=format, header=header, columns=columns,
                           delimiter=None if delimiter in (None, "\t" if format == "tsv" else ",") else delimiter,
                           label=_label(label) if label else NO_LABEL,
                           split=Split() if by_time else Split(kind="random"))


def _label(fact: _Facts) -> Label:
    """The label; from where on it is positive is left to the task, but for a scale, of which its values say more."""
    at_least = _at_least(fact)
    return Label(column=fact.name) if at_least == 1 else Label(column=fact.name, at_least=at_least)


def _facts(column: pl.Series) -> _Facts:
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return _Facts(column.name, pl.Series(column.name, [None] * len(column), dtype=pl.String), None, 0)
    text = as_text(column).str.strip_chars().to_frame().select(
        pl.when(pl.first() != "").then(pl.first())).to_series()
    present = text.drop_nulls()
    present = present.filter(~present.str.to_lowercase().is_in(MISSING))
    decimal = "," if column.dtype == pl.String and _has_commas(present) else "."
    if decimal == ",":
        present = present.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    cast = present.str.replace("(?i)^true$", "1").str.replace("(?i)^false$", "0").cast(pl.Float64, strict=False)
    numeric = cast if len(present) and not cast.null_count() else None
    return _Facts(column.name, text, numeric, present.n_unique(), decimal)


def _has_commas(present: pl.Series) -> bool:
    """Whether every text is a number with a decimal comma or a whole one, and some comma can be no other mark.

    1,234 alone may be a number of thousands, and 3,45,7 is a list.
    """
    decimal = present.str.contains(r"^[+-]?[\d.]+,\d*$")
    telling = present.str.contains(r"^[+-]?\d*\.?\d+,(\d{1,2}|\d{4,})$").any()
    if not decimal.any() or not telling or decimal.mean() < SOME_COMMAS:
        return False
    return all(COMMA_NUMBER.fullmatch(cell) and not (NUMBER.fullmatch(cell) and "." in cell)
               for cell in present.unique())




def _role(fact: _Facts, dtype: pl.DataType) -> tuple[Role, str]:
    """(role, separator of a multi column)."""
    if isinstance(dtype, pl.List | pl.Array):
        return Role.MULTI, " "
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object) or not fact.distinct:
        return Role.IGNORE, " "
    rows = len(fact.values)
    for role in (Role.LABEL, Role.USER, Role.ITEM):
        if named(fact.name, role) and (role is not Role.LABEL or _is_label(fact)):
            return role, " "
    if named(fact.name, Role.LABEL) and joined(fact.name) not in MAYBE:
        return Role.IGNORE, " "  # what happened, but neither yes or no nor a grade
    if is_written_afterwards(fact.name) or _tells_apart(fact):
        return Role.IGNORE, " "
    if dtype.is_temporal() or _looks_like_time(fact):
        return (Role.TIME if _readable_as_time(fact, dtype) else Role.IGNORE), " "
    if (fact.distinct == 1 and rows > 1) or (joined(fact.name) in ROW_KEYS and fact.distinct > 0.9 * rows):
        return Role.IGNORE, " "
    if is_of_events(fact.name) or fact.consecutive:
        return Role.IGNORE, " "
    if fact.name in CRITEO:
        return (Role.NUMBER if fact.name.startswith("I") else Role.CATEGORY), " "
    if fact.numbers is not None:
        few = fact.whole and fact.distinct <= min(FEW_NUMBERS, max(2, rows // 2)) and (
            fact.distinct <= 2 or not is_of_quantities(fact.name))
        return (Role.CATEGORY if few or (fact.whole and is_of_codes(fact.name)) else Role.NUMBER), " "
    if _is_free_text(fact):
        return Role.IGNORE, " "
    separator = _multi_separator(fact)
    if separator:
        return Role.MULTI, separator
    if rows >= 100 and fact.distinct > 0.95 * rows:
        return Role.IGNORE, " "  # titles, texts, row keys
    return Role.CATEGORY, " "


def _looks_like_ids(fact: _Facts) -> bool:
    """Whether whole numbers are many, come again and again, and leave few gaps."""
    return fact.whole and fact.numbers.min() >= 0 and fact.distinct >= MANY_IDS and (
        2 * fact.distinct <= len(fact.values)) and fact.distinct >= DENSE * (fact.numbers.max() - fact.numbers.min())


def _looks_like_time(fact: _Facts) -> bool:
    if fact.numbers is not None:
        low, high = fact.numbers.min(), fact.numbers.max()
        if any(start <= low and high <= end for start, end in EPOCH) and not fact.name.lower().endswith("id"):
            present = len(fact.values) - fact.values.null_count()
            return fact.distinct > 0.05 * present or named(fact.name, Role.TIME)
        stamp = fact.name.lower() in ("hour", "day") and low > 1e5  # YYMMDDHH as in Avazu, YYYYMMDD
        return bool(named(fact.name, Role.TIME) or stamp) and fact.distinct > 1
    dates = fact.values.drop_nulls().head(200).str.contains(r"^(\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{4})"
                                                            r"([ T]\d\d?:\d\d.*)?$")
    return bool(dates.all())


def _readable_as_time(fact: _Facts, dtype: pl.DataType) -> bool:
    """Whether reading will take the column for times: a moment in every row, in a way of writing dates that it reads.
    """
    if fact.values.null_count():
        return False
    try:
        times(fact.values if dtype == pl.String else pl.Series([0]), what="")
    except DataError:
        return False
    return True


def _is_free_text(fact: _Facts) -> bool:
    """Whether cells are sentences: long, of several words, and not the same few again and again."""
    present = fact.values.drop_nulls().head(LISTS)
    return (fact.distinct > FEW_NUMBERS and present.str.len_chars().median() >= TEXT_CHARS
            and (present.str.count_matches(r"\s+").median() + 1) >= TEXT_WORDS
            and not any(list_in(cell) is not None for cell in present))


def _multi_separator(fact: _Facts) -> str | None:
    """The separator that cuts text cells into values repeated from cell to cell; None for single values."""
    present = fact.values.drop_nulls()
    if all(list_in(cell) is not None for cell in present.head(LISTS)):
        return MULTI_SEPARATORS[0]  # none is needed
    for separator in MULTI_SEPARATORS:
        pieces = present.str.split(separator)
        several = pieces.list.len() > 1
        if several.mean() < 0.2:
            continue
        values = pieces.explode()
        if values.n_unique() < 0.5 * min(fact.distinct, len(present)) and values.n_unique() < 0.2 * len(values):
            return separator
    return None


def _pick_label(facts: list[_Facts], *, header: bool) -> _Facts | None:
    """The label by its name and values; None where that would be a guess in the dark.

    A column of 0 and 1 goes before a scale, and a count comes last. Without a header, the only end of a row that holds
    two values is it.
    """
    usable = [fact for fact in facts if fact.distinct > 1]
    if not header and not any(named(fact.name, Role.LABEL) for fact in facts):
        ends = [fact for fact in usable[:1] + usable[1:][-1:] if _two_values(fact)]
        return ends[0] if len(ends) == 1 else None
    called_so = [fact for fact in usable if named(fact.name, Role.LABEL) and _is_label(fact)]
    called_so.sort(key=lambda fact: (joined(fact.name) == COUNT, not fact.flag))
    flags = [fact for fact in usable if fact.flag and is_of_a_flag(fact.name)]
    if called_so and joined(called_so[0].name) == COUNT:
        called_so = [*flags, *called_so]
    return next(iter([*called_so, *flags]), None)


def _is_label(fact: _Facts) -> bool:
    """Whether the values of a column that is called like a label are those of one."""
    words = fact.numbers is None and fact.distinct == 2  # reading says how to turn them into 1 and 0
    return fact.distinct > 1 and (fact.flag or words or _is_scale(fact))


def _two_values(fact: _Facts) -> bool:
    return fact.distinct == 2 and (fact.flag or fact.numbers is None) and not _tells_apart(fact)


def _is_scale(fact: _Facts) -> bool:
    """Whether values are grades: few, in steps of a half, up to 10; a name that means grades may have more."""
    if fact.numbers is None or _looks_like_time(fact):
        return False
    graded = bool((2 * fact.numbers == (2 * fact.numbers).floor()).all()) and fact.numbers.max() <= MOST_GRADES
    return joined(fact.name) in SCALES or (joined(fact.name) == "score" and graded and fact.numbers.min() >= -1)


def _tells_apart(fact: _Facts) -> bool:
    """Whether it says which part a row belongs to, or what it weighs: neither a label nor an input."""
    values = set(fact.values.drop_nulls().unique().head(MOST_PARTS)) if fact.distinct <= MOST_PARTS else set()
    return is_of_parts(fact.name, values) or is_of_weights(fact.name, few=fact.distinct <= FEW_WEIGHTS)


def _at_least(fact: _Facts) -> float:
    """1 for 0/1 labels; for ratings the upper part of the scale: 4 of 5, 7 of 10, else above the middle."""
    if fact.numbers is None or fact.numbers.max() <= 1:
        return 1.0
    if fact.numbers.min() < -1:  # a scale around zero; -1 alone is a rating that wasn't given
        return float(fact.numbers.filter(fact.numbers > 0).min())
    top = float(fact.numbers.max())
    if top <= 5:
        return {2.0: 2.0, 3.0: 3.0}.get(top, 4.0)
    if top <= 10:
        return 7.0
    return float(fact.numbers.median()) + 1 if fact.numbers.median() < top else top
