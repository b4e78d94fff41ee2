"""Page config, navigation, and nothing else: what AppTest is pointed at."""

import streamlit as st

from ui.shared.shell import style, warn_while_open
from ui.shared.state import PAGES, say_kept

TITLES = {"home": "Home", "models": "Models", "datasets": "Datasets", "experiment": "Experiment", "runs": "Runs",
          "run": "Run", "compare": "Compare", "methods": "Methods", "settings": "Settings"}
DEEP_LINKS = {"run"}  # reached from a list, a plot or a link

st.set_page_config(page_title="RecPress", page_icon="static/icon.svg", layout="wide",
                   initial_sidebar_state="collapsed")
st.logo("static/logo.svg", size="medium")
page = st.navigation(
    [st.Page(path, title=TITLES[name], url_path=None if name == "home" else name, default=name == "home",
             visibility="hidden" if name in DEEP_LINKS else "visible") for name, path in PAGES.items()],
    position="top")
style()
warn_while_open()
say_kept()
page.run()
