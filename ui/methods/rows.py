"""Methods as rows grouped by family: the same on the Methods page and where a step is chosen."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import streamlit as st

from compression.spec.catalogue import badges, by_family, effect, family_title, search
from compression.spec.method import METHODS, Gain, Method
from compression.spec.records import ModelDescription
from compression.tasks.units import format_change, human_bytes
from plots.theme import FAMILY_COLOURS
from ui.shared.format import plural
from ui.shared.links import api_base

GAIN_COLOURS = {Gain.SMALLER.value: "green", Gain.FASTER.value: "blue", Gain.QUALITY.value: "violet"}
NO_FIT = "Not for this model"


def draw_filter(key: str) -> list[Method]:
    """A search box and the families; gives the methods that pass."""
    left, right = st.columns([1, 2.2], gap="medium", vertical_alignment="bottom")
    with left:
        text = st.text_input("Search", key=f"{key}.search", placeholder="int8, hashing, faster …",
                             help="Names, sentences, parameters and sources; Enter searches.")
    with right:
        present = list(by_family())
        family = st.pills("Family", present, key=f"{key}.family", format_func=family_title)
    found = search(text or "")
    return [one for one in found if family is None or one.family == family]


def draw_families(methods: Sequence[Method], draw_row: Callable[[Method], None]) -> None:
    """The methods under the names of their families."""
    for family, members in by_family(methods).items():
        st.html(f'<div class="rp-family"><i style="background:{FAMILY_COLOURS.get(family, "#8A949C")}"></i>'
                f"{html.escape(family_title(family))}</div>")
        for method in members:
            draw_row(method)


def draw_words(method: Method, *, sentence: str = "", linked: bool = True) -> None:
    """Name, promises and one sentence, with a way to the card."""
    told = " ".join(f":{GAIN_COLOURS.get(badge, 'gray')}-badge[{badge}]" for badge in badges(method))
    card = f" [Card]({card_url(method.key)})" if linked else ""
    st.markdown(f"**{method.title}** {told}  \n:gray[{sentence or method.summary}]{card}")


def effect_words(method: Method, description: ModelDescription) -> str:
    """What the method does to the bytes of a model at its defaults: "811 kB → 214 kB (3.8× less)"; "" for nothing."""
    found = effect(method, description)
    if found is None or found[0] == found[1] or not found[0]:
        return ""
    bound = "at most " if method.is_bounded(method.params()) else ""
    return f"{bound}{human_bytes(found[1])} ({format_change(found[1] / found[0])})"


def card_url(key: str) -> str:
    """The address of a method's card on the Methods page; opened beside the page it stands on."""
    return f"{api_base().removesuffix('api')}methods?method={key}"


def open_picker(description: ModelDescription | None, add: Callable[[str], None]) -> None:
    """Open the dialog in which a step is chosen. `add` is called with the key; the dialog then closes."""
    st.session_state.pop(_PICKED, None)
    st.dialog("Add a step", width="large")(_draw_picker)(description, add)


def _draw_picker(description: ModelDescription | None, add: Callable[[str], None]) -> None:
    if st.session_state.pop(_PICKED, False):
        st.rerun()

    def take(key: str) -> None:
        add(key)
        st.session_state[_PICKED] = True

    found = draw_filter("pick")
    reasons = {one.key: one.why_not(description) if description else "" for one in METHODS.values()}

    def row(method: Method) -> None:
        words, size, button = st.columns([5.4, 1.7, 0.8], vertical_alignment="center", gap="small")
        with words:
            draw_words(method, sentence=reasons[method.key])
        with size:
            if description and not reasons[method.key]:
                st.caption(effect_words(method, description) or "same bytes", text_alignment="right",
                           help="Size of the whole model with this one step at its default settings, by shapes.")
        with button:
            st.button("Add", key=f"pick.{method.key}", on_click=take, args=(method.key,), width="stretch",
                      disabled=bool(reasons[method.key]))

    with st.container(height=520, border=False):
        draw_families([one for one in found if not reasons[one.key]], row)
        unfit = [one for one in found if reasons[one.key]]
        if unfit:
            st.html(f'<div class="rp-family">{NO_FIT}</div>')
            for method in sorted(unfit, key=lambda one: one.title.lower()):
                row(method)
        if not found:
            st.caption("No method has these words. Clear the search, or pick another family.")
    st.caption(f"{plural(len(found), 'method')} of {len(METHODS)}")


_PICKED = "pick.picked"
