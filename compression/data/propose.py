"""What a person may want of a guessed description: histories and negatives added, and what follows said in words."""

from __future__ import annotations

from collections.abc import Mapping

from compression.data.column_names import is_of_happenings, is_of_weights
from compression.data.formats.companions import companion_of
from compression.spec.data_description import Column, DataDescription, History, Label, Negatives, Role, Split
from compression.spec.errors import DataError
from compression.spec.names import free_name

HISTORY, DRAWN = "history", "label"


def with_negatives(description: DataDescription, *, per_positive: int, by: str) -> DataDescription:
    """Every row of the log positive, and negatives drawn beside it; the label is made. Raises DataError."""
    if not 1 <= per_positive <= 100:
        raise DataError(f"The number of negatives beside each row must be in [1, 100]; got {per_positive}.")
    columns = description.columns
    name = description.label.column
    if not name:
        name = free_name(DRAWN, [column.name for column in columns])
        columns = (Column(name=name, role=Role.LABEL), *columns)
    return description.model_copy(update={"columns": columns, "label": Label(column=name),
                                          "negatives": Negatives(per_positive=per_positive, by=by)})


def with_history(description: DataDescription, *, last: int) -> DataDescription:
    """With a column of each user's last items. Raises DataError."""
    if not 1 <= last <= 1000:
        raise DataError(f"The length of a history must be in [1, 1000]; got {last}.")
    name = free_name(HISTORY, [column.name for column in description.columns])
    return description.model_copy(update={"columns": (*description.columns, Column(name=name, role=Role.MULTI)),
                                          "history": History(column=name, last=last)})


def with_companions(description: DataDescription, companions: Mapping[str, str]) -> DataDescription:
    """With a companion for each file (file → companion), and the column that they give; groups stand for users."""
    if not companions:
        return description
    columns, split = description.columns, description.split
    name = companion_of(description).column
    if name not in [one.name for one in columns]:
        columns = (*columns[:1], Column(name=name, role=Role.USER), *columns[1:])
        split = Split(kind="user") if "all" in description.files else split
    return description.model_copy(update={"companions": dict(companions), "columns": columns, "split": split})


def notes_on(description: DataDescription) -> list[str]:
    """What follows from what is made, and what may be worth a choice, a sentence each."""
    notes = []
    if (drawn := drawn_words(description)):
        notes.append(drawn)
    if description.history is not None:
        notes.append(f"'{description.history.column}' holds the user's last {description.history.last} items from "
                     "positive rows at earlier moments; rows of one moment don't see each other.")
    if description.is_run:
        notes.append("Documents that the judgements don't name count as not relevant, as in trec_eval; relevant ones "
                     "that the run did not find are no rows.")
    for column in description.columns:
        if column.role is Role.IGNORE and is_of_weights(column.name, few=False):
            notes.append(f"'{column.name}' looks like the weight of a row and is left out. With the role weight it "
                         "counts rows in training and in AUC, log loss and calibration.")
        if not description.label.column and is_of_happenings(column.name):
            notes.append(f"'{column.name}' seems to say what happened. To learn from it, write a label of 1 and 0 by "
                         "it; or keep the rows of one kind, such as purchases, and draw negatives.")
        if column.decimal == ",":
            notes.append(f"'{column.name}' is read with a decimal comma.")
    if description.encoding not in (None, "utf-8"):
        notes.append(f"The text is read as {description.encoding}: check names and words with accents in the preview.")
    return notes


def drawn_words(description: DataDescription) -> str:
    """What follows from negatives that are drawn, as for lists of users and items they always are; "" for none."""
    drawn = description.negatives or (Negatives() if description.format == "lists" else None)
    return negatives_words(drawn) if drawn else ""


def negatives_words(drawn: Negatives) -> str:
    """What drawn negatives do to the numbers."""
    how = ("all items alike, so that a model which only knows what is popular scores well" if drawn.by == "uniform"
           else "items as often as they were chosen, so that popularity alone scores about .5")
    return (f"Every row of the file is positive; {drawn.per_positive} "
            f"negative{'s are' if drawn.per_positive > 1 else ' is'} drawn beside each, {how}. A drawn item was not "
            "shown and refused: AUC and log loss compare with other runs on the same draw, not with those on real "
            f"impressions, and a score of {1 / (1 + drawn.per_positive):.0%} is the average row, not the chance of a "
            "click.")
