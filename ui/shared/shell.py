"""The frame around every page: a little style that the theme can't say, and the page's heading."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ui.server.gate import is_loopback, listens_at
from ui.shared.escape import escaped
from ui.shared.state import open_page, page_link

Figure = tuple[str, str, str, str]  # label, value, what stands below it ("" for nothing), help

# figures line up where they stand below one another; the bar of pages starts where the page does; and a primary
# button has dark ink in the dark theme, because white on its accent is too faint
CSS = """
<style>
  .stApp { --rp-accent: light-dark(#0F766E, #2DD4BF); --rp-on-accent: light-dark(#FFFFFF, #12171C);
    --rp-line: light-dark(#DCE1E5, #2F3841); --rp-ink: light-dark(#1F2933, #E6EAED); }
  [data-testid="stMetric"], [data-testid="stProgress"], table { font-variant-numeric: tabular-nums; }
  .stMainBlockContainer { max-width: 1344px; padding: 4.5rem 2rem 4rem; }
  [data-testid="stToolbar"] { padding-left: calc(max(0px, (100vw - 1344px) / 2) + 1rem); }
  [data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {
    color: light-dark(#5B6670, #A3ADB6) !important; opacity: 1 !important; }
  [data-testid="stMetricValue"] { letter-spacing: -0.01em; }
  [data-testid="stMetricDelta"] { font-weight: 500; }
  [data-testid="stBaseButton-primary"]:not(:disabled), [data-testid="stBaseLinkButton-primary"] {
    color: var(--rp-on-accent) !important; }
  .rp-download { display: inline-block; font-size: 0.875rem; line-height: 1.7;
    padding: 0.375rem 0.875rem; border: 1px solid var(--rp-line);
    border-radius: 8px; color: var(--rp-ink) !important; text-decoration: none !important; }
  .rp-download:hover { border-color: var(--rp-accent); }
  .rp-download.rp-primary { background: var(--rp-accent); border-color: var(--rp-accent);
    color: var(--rp-on-accent) !important; }
  .rp-checks { display: grid; grid-template-columns: auto auto 1fr; gap: 0.25rem 0.75rem; font-size: 0.9375rem; }
  .rp-checks b { font-weight: 600; }
  .rp-checks i { font-style: normal; color: light-dark(#0B6E4F, #4ADE80); }
  .rp-checks i.failed { color: light-dark(#B42318, #F97066); }
  .rp-family { font-weight: 600; margin: 0.75rem 0 0.125rem; display: flex; align-items: center; gap: 0.5rem; }
  .rp-family i { width: 0.625rem; height: 0.625rem; border-radius: 50%; flex: none; }
  [class*="st-key-editor"] [data-testid="stElementToolbar"] { display: none; }  /* its CSV is not defused */
  button:focus-visible, a:focus-visible { outline: 2px solid var(--rp-accent); outline-offset: 2px; }
  @media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
</style>
"""


def style() -> None:
    """Put the style above into the page. Called once by router.py."""
    st.html(CSS)


def warn_while_open() -> None:
    """Say on every page that whoever reaches the port may do everything, while others can reach it."""
    if not is_loopback(listens_at()):
        st.warning("This app listens beyond this machine and has no sign-in: everyone who can reach it may read, start "
                   "and delete everything. Set `server.address` to 127.0.0.1, or put a proxy with sign-in before it.")


def page_title(title: str, sentence: str = "") -> None:
    """The page's heading with one sentence that says what the page is for."""
    st.title(escaped(title), anchor=False)
    if sentence:
        st.caption(escaped(sentence))


def empty_state(title: str, sentence: str) -> None:
    """What a list shows while it is empty: what belongs here, and what to do first (draw the button after it)."""
    st.header(escaped(title), anchor=False)
    st.markdown(escaped(sentence))


def draw_gone(what: str, why: str, page: str) -> None:
    """A link to something that is not there (any more): why, and the way to the list of what there is."""
    empty_state(f"This {what} is not here", why)
    page_link(page, f"All {page}")


def draw_back(label: str, page: str) -> None:
    """The way from a detail back to its list."""
    if st.button(f"← {label}", type="tertiary", key=f"back.{page}"):
        open_page(page)


def draw_figures(figures: Sequence[Figure]) -> None:
    """A row of figures at their own width, each with a word below it and a line on hover."""
    with st.container(horizontal=True, gap="large"):
        for label, value, below, help in figures:
            st.metric(label, value, delta=below or None, delta_color="off", delta_arrow="off", help=help,
                      width="content")
