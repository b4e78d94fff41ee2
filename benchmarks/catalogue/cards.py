"""The "Measured here" section of every method's card, from the points: figures, intervals, and what the controls say.

A paragraph that begins with LINK is ours and is written anew; what else a card says of its own measurements stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalogue.goals import SERIES
from benchmarks.catalogue.jobs import RECIPES, jobs_of
from benchmarks.catalogue.kept import read_kept
from benchmarks.catalogue.points import Point
from benchmarks.catalogue.references import SOURCES
from benchmarks.catalogue.summary import SAVES_NOTHING, Spot, by_series, spots_of, verdict
from benchmarks.catalogue.sweeps import SWEEPS
from benchmarks.catalogue.write import TABLE

LINK = "In [the benchmark of all methods](../results/methods.md)"
CARDS = Path(__file__).resolve().parents[2] / "docs" / "methods"
HEADING = "## Measured here"
PLACEHOLDERS = ("Only what a benchmark of this repository wrote", "Beside all other methods and the controls in",
                "Beside ONNX Runtime's own quantiser, where that benchmark was run")
AFFORDABLE = 0.001  # AUC, a change that is meaningful in click models
WHERE = {"movielens": "on MovieLens-100K (DeepFM, {seeds})", "crosses": "on MovieLens-100K (DCN v2, {seeds})",
         "convolutions": "on MovieLens-100K (field convolutions, {seeds})",
         "attention": "on MovieLens-100K (self-attentive histories, {seeds})",
         "log": "on the generated log of 2 million rows",
         "adult": "on Adult", "criteo": "on the Criteo sample", "criteo_indexed": "on the indexed Criteo sample"}
ALONE = {sweep.method for sweep in SWEEPS if not sweep.shrinks}
HELPS = {sweep.method: sweep.shrinks for sweep in SWEEPS if sweep.shrinks and sweep.method not in ALONE}
COMBINED = {sweep.name for sweep in SWEEPS if sweep.shrinks and sweep.method in ALONE}  # not the method's own figures


def write_cards(points: dict[str, Point], keys: Sequence[str]) -> list[str]:
    """Fill in every card whose method has points; gives their keys."""
    kept = read_kept(TABLE)
    spots = {key: [spot for spot in spots_of(jobs_of(SOURCES[key]), points, kept) if spot.series not in COMBINED]
             for key in keys}
    methods = dict.fromkeys(spot.method for found in spots.values() for spot in found
                            if spot.method not in ("", RECIPES, SERIES))
    written = []
    for method in methods:
        card = CARDS / f"{method}.md"
        if card.exists():
            card.write_text(filled(card.read_text(encoding="utf-8"), paragraph(method, spots)), encoding="utf-8")
            written.append(method)
    return written


def filled(card: str, ours: str) -> str:
    """The card with our paragraph first under its heading, and without the sentences that held its place."""
    head, _, rest = card.partition(HEADING)
    rest, following, tail = rest.partition("\n## ")
    kept = [text for text in re.split(r"\n\s*\n|\n(?=- )", rest.strip())
            if text.strip() and not text.startswith(LINK)
            and not any(word in " ".join(text.split()) for word in PLACEHOLDERS)]
    body = "\n".join(text if text.startswith("- ") else text + "\n" for text in [ours, *kept]).strip()
    return head.rstrip() + "\n\n" + HEADING + "\n" + body + "\n" + (following + tail if following else "")


def paragraph(method: str, spots: dict[str, list[Spot]]) -> str:
    """What the benchmark says of a method, wrapped at 120 characters."""
    told = []
    for key, found in spots.items():
        own = [spot for spot in found if spot.method == method]
        if own:
            told.append(sentence(key, own))
    helps = HELPS.get(method, "")
    first = f"{LINK}" + (f", in the epoch after `{helps}`" if helps and helps != method else "")
    text = f"{first}: {'; '.join(told)}. {controls_say(method, spots)}"
    return wrapped(text.strip())


def sentence(key: str, own: Sequence[Spot]) -> str:
    """The smallest file that costs next to nothing, and the smallest of all."""
    seeds = max(spot.seeds for spot in own)
    where = WHERE[key].format(seeds="one seed" if seeds == 1 else f"{seeds} seeds")
    saving = [spot for spot in own if spot.ratio > SAVES_NOTHING]
    if not saving:
        best = max(own, key=lambda spot: spot.difference)
        return f"{where} it saves no bytes, at {cost(best)}"
    cheap = [spot for spot in saving if spot.difference >= -AFFORDABLE]
    chosen = max(cheap, key=lambda spot: spot.ratio) if cheap else max(saving, key=lambda spot: spot.difference)
    smallest = max(saving, key=lambda spot: spot.ratio)
    told = f"{where} {times(chosen)} at {cost(chosen)}"
    if smallest.ratio > 1.05 * chosen.ratio:
        told += f", at most {times(smallest)} at {cost(smallest)}"
    return told


def times(spot: Spot) -> str:
    return f"{spot.ratio:.3g} times smaller"


def cost(spot: Spot) -> str:
    after = ", after an epoch" if spot.tuned else ""
    settings = "" if spot.setting == "default" else f" ({readable(spot.setting)}{after})"
    return f"{spot.difference:+.4f} AUC [{spot.low:+.4f}, {spot.high:+.4f}]{settings}"


def readable(setting: str) -> str:
    """`keep` 0.5, as cards write parameters."""
    return ", ".join(f"`{name}` {value}" for name, _, value in (part.partition(" ") for part in setting.split(", ")))


def controls_say(method: str, spots: dict[str, list[Spot]]) -> str:
    """On which datasets a control beats the method everywhere, by which, and where none does."""
    lost, held = [], []
    for key, found in spots.items():
        for name, members in by_series([spot for spot in found if spot.method == method]).items():
            says = verdict(members, found)
            where = SOURCES[key].title + (f" ({name.partition(', ')[2]})" if ", " in name else "")
            if not says.saves:
                continue
            if says.beaten_by:
                lost.append(f"{where} by {' and '.join(f'*{other}*' for other in says.beaten_by[:2])}")
            else:
                held.append(where)
    parts = []
    if lost:
        parts.append(f"**The controls beat it at every setting** on {'; '.join(lost)}.")
    if held:
        parts.append(f"It is ahead of every control of the same part, at some settings, on {'; '.join(held)}.")
    return " ".join(parts)


def wrapped(text: str, width: int = 120) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
