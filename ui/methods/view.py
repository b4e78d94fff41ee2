"""The parts of the Methods page: the catalogue by family, and one method with its card and parameters."""

from __future__ import annotations

import re

import streamlit as st

from compression.spec.catalogue import badges, card_path, family_title, parameter_rows
from compression.spec.method import METHODS, Method
from ui.experiment.recipe_editor import add_step
from ui.methods.rows import GAIN_COLOURS, draw_families, draw_filter, draw_words
from ui.shared.format import plural
from ui.shared.shell import draw_back, draw_gone, page_title
from ui.shared.state import open_page, query_text


def draw_methods_page() -> None:
    """One method where the address names it, else all of them."""
    key = query_text("method")
    if key is None:
        _draw_all()
    elif key in METHODS:
        _draw_one(METHODS[key])
    else:
        draw_gone("method", f"There is no method {key[:80]!r} in this version; the list has all there are.", "methods")


def _draw_all() -> None:
    page_title("Methods", f"{plural(len(METHODS), 'way')} to make a model smaller or faster, each with when to use it, "
                          "what it costs and what was measured.")
    found = draw_filter("methods")

    def row(method: Method) -> None:
        words, button = st.columns([7, 1], vertical_alignment="center", gap="small")
        with words:
            draw_words(method, linked=False)
        with button:
            if st.button("Open", key=f"methods.{method.key}", width="stretch"):
                open_page("methods", method=method.key)

    draw_families(found, row)
    if not found:
        st.caption("No method has these words. Clear the search, or pick another family.")


def _draw_one(method: Method) -> None:
    draw_back("All methods", "methods")
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.title(method.title, anchor=False)
        if st.button("Add to the recipe", type="primary", help="Puts the step at the end of the recipe under edit."):
            add_step(method.key)
            open_page("experiment")
    told = [f":gray-badge[{family_title(method.family).lower()}]", f":gray-badge[{method.stage.value}]"]
    told += [f":{GAIN_COLOURS.get(badge, 'gray')}-badge[{badge}]" for badge in badges(method)]
    st.markdown(f"{method.summary}  \n{' '.join(told)}")
    path = card_path(method.key)
    left, right = st.columns([1.5, 1], gap="large")
    with left:
        st.markdown(_body(path.read_text(encoding="utf-8")) if path.is_file() else "This method has no card yet.")
    with right:
        st.header("Parameters", anchor=False)
        for row in parameter_rows(method):
            st.markdown(f"**{row['Parameter']}** · {row['Default']}  \n:gray[{row['Meaning']}"
                        f"{' Allowed: ' + row['Allowed'] + '.' if row['Allowed'] else ''}]")
        st.caption(f"Source: {method.source}. In recipes: `{method.key}`.")


def _body(card: str) -> str:
    """The card below its title, links to other cards as links to this page."""
    body = re.sub(r"\A# .*\n", "", card)
    return re.sub(r"\]\((?!\w+:)(?:\./)?([a-z_]+\.[a-z_0-9]+)\.md\)", r"](?method=\1)", body)
