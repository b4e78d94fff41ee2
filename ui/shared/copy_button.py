"""A button that copies a text, because a link in a text box asks for three gestures where one will do."""

from __future__ import annotations

import streamlit as st

_HTML = '<button type="button"></button>'
_CSS = """
button { font: inherit; font-size: 0.9375rem; line-height: 1.6; padding: 0.25rem 0.75rem; width: 100%; cursor: pointer;
  color: var(--st-text-color); background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, 8px); }
button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
"""
_JS = """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.textContent = data.label;
  button.title = data.hint;
  const text = () => data.query ? window.location.origin + window.location.pathname + "?" + data.query : data.text;
  const say = (words) => {
    button.textContent = words;
    setTimeout(() => { button.textContent = data.label; }, 2000);
  };
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text());
      say(data.done);
    } catch {
      window.prompt("Copy with Ctrl+C", text());  // a page without TLS may not write to the clipboard
    }
  };
}
"""


def copy_link_button(label: str, query: str, *, key: str, help: str = "", done: str = "Copied") -> None:
    """A button that copies the address of this page with another query, as the browser knows the address."""
    _component()(key=key, data={"label": label, "query": query, "hint": help, "done": done})


@st.cache_resource(show_spinner=False)
def _component():
    return st.components.v2.component("recpress_copy", html=_HTML, css=_CSS, js=_JS)
