"""Text that people or files gave, for Plotly, which takes labels and hover texts as a little HTML and as templates."""

from __future__ import annotations

import html


def literal(text: str) -> str:
    """Text as Plotly shows it literally: no link, no style, no place to be filled in."""
    return html.escape(text, quote=False).replace("{", "&#123;")
