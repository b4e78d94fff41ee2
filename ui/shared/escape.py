"""Text that people or files gave, made literal: whatever meets Streamlit's markdown goes through `escaped`.

    st.error(f"**{escaped(job.name)} failed.** {escaped(cause.message)}")

Labels of buttons, tabs, expanders, pills, radios, links and metrics are markdown too. Options of select boxes, cells of
tables and code are shown as they are.
"""

from __future__ import annotations

import re

APART = "\u2060"  # a word joiner: no width, and what stands on either side of it is no address, icon or emoji
# Streamlit looks for addresses, icons and emojis in the finished text, where a backslash no longer helps
FOUND_LATER = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=[\w.+-]@)(?=[\w-]+\.)|(?<=:)(?=[\w+-])", re.IGNORECASE)
# what begins markup anywhere; an underscore outside of words; a heading, quote or list at the start
MARKUP = re.compile(r"[\\`*\[\]<~$]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])|^[#>+=-]")
NUMBERED = re.compile(r"^(\d+)([.)])")
HIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escaped(text: object) -> str:
    """Text as markdown shows it literally, on one line: no link, image, HTML, colour, icon, emoji or formula.

    Control characters, and those that turn the direction of writing, are left out.
    """
    line = " ".join(HIDDEN.sub("", str(text)).split())
    return NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", FOUND_LATER.sub(APART, line)))
