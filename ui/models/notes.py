"""What came with a model or was found when it came in: sentences, settings and who decided them, training's notes."""

from __future__ import annotations

import streamlit as st

from storage.records import ModelRow
from ui.models.training import NOTES as TRAINING_NOTES
from ui.shared.escape import escaped
from ui.shared.format import MISSING
from ui.shared.table import draw_dataframe

DECIDED = {"guess": "guessed", "data": "loss on validation rows", "file": "a file of the upload", "answer": "you"}


def guesses(row: ModelRow) -> list[str]:
    """What nobody said and no data decided, "question: answer" each."""
    return [f"{one.text} {said(one.answer)}." for one in row.description.questions
            if one.decided_by == "guess" and one.choices]


def said(answer: object) -> str:
    """An answer as people say it."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return ", ".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)


def draw_notes(row: ModelRow) -> None:
    """Sentences first, then tables; nothing is repeated that the page shows elsewhere."""
    for sentence in row.description.notes:
        st.markdown(escaped(sentence))
    if row.description.questions:
        st.markdown("**Settings**")
        draw_dataframe([{"Setting": one.text, "Answer": said(one.answer), "Decided by": DECIDED[one.decided_by]}
                      for one in row.description.questions], hide_index=True)
    _draw_rest(row)


def _draw_rest(row: ModelRow) -> None:
    notes = {key: value for key, value in row.notes.items() if key not in TRAINING_NOTES}
    plain = [{"Note": key.replace("_", " "), "Value": ", ".join(map(str, value)) if isinstance(value, list) else
              str(value)} for key, value in notes.items() if not isinstance(value, dict) and
             not (isinstance(value, list) and value and isinstance(value[0], dict | list))]
    tables = {key: value for key, value in notes.items()
              if isinstance(value, list) and value and isinstance(value[0], dict)}
    if not plain and not tables and not row.description.notes:
        st.caption("Nothing was noted when this model came in.")
    if plain:
        draw_dataframe(plain, hide_index=True, placeholder=MISSING)
    for key, value in tables.items():
        st.markdown(f"**{escaped(key.replace('_', ' ').capitalize())}**")
        draw_dataframe(value, hide_index=True, placeholder=MISSING)
