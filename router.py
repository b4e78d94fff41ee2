"""Page config, navigation, and nothing else: what AppTest is pointed at."""

import streamlit as st

from ui.shared.pages import PAGES
from ui.shared.shell import style, warn_while_open
from ui.shared.state import say_kept

entries = [st.Page(page.path, title=page.title, url_path=page.address or None, default=not page.address,
                   visibility="hidden" if page.hidden else "visible") for page in PAGES]
opened = st.navigation(entries, position="top")
st.set_page_config(page_title=f"{opened.title} · RecPress", page_icon=PAGES[entries.index(opened)].icon, layout="wide",
                   initial_sidebar_state="collapsed")
st.logo("static/logo.svg", size="medium")
style()
warn_while_open()
say_kept()
opened.run()
