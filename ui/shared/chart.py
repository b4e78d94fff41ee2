"""A figure as every page shows it."""

from __future__ import annotations

import plotly.graph_objects as go
import streamlit as st


def draw_chart(figure: go.Figure, *, key: str, alt: str) -> None:
    """The figure in its own theme, without Plotly's bar of tools; `alt` says what it shows, and where its numbers are.
    """
    st.plotly_chart(figure, theme=None, config={"displayModeBar": False}, key=key, alt=alt)
