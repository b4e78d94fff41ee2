"""Settings: workers and devices, disk use, samples, versions."""

import streamlit as st

from ui import settings_view as parts
from ui.failures import warn_of_another_database
from ui.shell import page_title
from ui.state import store

page_title("Settings", "What does the work, where things are kept, and what this installation is made of.")
warn_of_another_database(store())
st.header("Workers and devices", anchor=False)
parts.draw_workers(store())
parts.draw_job_limits(store())
st.header("Storage", anchor=False)
parts.draw_storage(store())
st.header("Samples", anchor=False)
parts.draw_samples(store())
st.header("Versions", anchor=False)
parts.draw_versions()
