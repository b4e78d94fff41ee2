"""Settings: workers and devices, disk use, samples, versions."""

import streamlit as st

from ui import settings_view as parts
from ui.shell import page_title
from ui.state import store

page_title("Settings", "What does the work, where things are kept, and what this installation is made of.")
st.subheader("Workers and devices", anchor=False)
parts.draw_workers(store())
st.subheader("Storage", anchor=False)
parts.draw_storage(store())
st.subheader("Samples", anchor=False)
parts.draw_samples(store())
st.subheader("Versions", anchor=False)
parts.draw_versions()
