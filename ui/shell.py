"""The frame around every page: a little style that the theme can't say, and the page's heading."""

from __future__ import annotations

import streamlit as st

# tabular figures so that columns of numbers line up; a calm width for text; no jump while a page reruns
CSS = """
<style>
  .stApp { font-variant-numeric: tabular-nums; font-feature-settings: "cv11", "ss03"; }
  .stMainBlockContainer { max-width: 1320px; padding-top: 4.5rem; padding-bottom: 4rem; }
  [data-testid="stMetricValue"] { letter-spacing: -0.01em; }
  [data-testid="stMetricDelta"] { font-weight: 500; }
  .rp-download { display: inline-block; padding: 0.375rem 0.875rem; border: 1px solid var(--st-border-color);
    border-radius: 8px; color: var(--st-text-color) !important; text-decoration: none !important; }
  .rp-download:hover { border-color: var(--st-primary-color); }
  button:focus-visible, a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
  @media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
</style>
"""


def style() -> None:
    """Put the style above into the page. Called once by router.py."""
    st.html(CSS)


def page_title(title: str, sentence: str = "") -> None:
    """The page's heading with one sentence that says what the page is for."""
    st.title(title, anchor=False)
    if sentence:
        st.caption(sentence)


def empty_state(title: str, sentence: str) -> None:
    """What a list shows while it is empty: what belongs here, and what to do first (draw the button after it)."""
    st.subheader(title, anchor=False)
    st.markdown(sentence)
