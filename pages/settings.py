"""Settings: workers and devices, disk use, samples, versions."""

import streamlit as st

from ui.settings import view as parts
from ui.shared.failures import warn_of_another_database
from ui.shared.shell import page_title
from ui.shared.state import store

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
parts.draw_plug_ins()
