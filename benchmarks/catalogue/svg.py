"""A scatter as a small SVG: how many times smaller (log) against the AUC difference, with intervals and the frontier.

Text and axes follow the reader's theme; colours are those of Okabe and Ito, which the colour-blind can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.catalogue.summary import Spot, frontier

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 460, 74, 176, 34, 48
COLOURS = {"embed": "#0072b2", "quantize": "#009e73", "prune": "#d55e00", "factorize": "#cc79a7",
           "distill": "#e69f00", "share": "#56b4e9", "train": "#8c6d31", "reparam": "#7f5fc4",
           "recipe": "#b22222", "control": "#8a8a8a"}
STYLE = ("text{font:11px system-ui,sans-serif;fill:#333}.axis{stroke:#777;fill:none}.grid{stroke:#8885;fill:none}"
         ".front{stroke:#555;fill:none;stroke-width:1.5;stroke-dasharray:5 3}.t{font-size:14px;font-weight:600}"
         "@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#999}.front{stroke:#bbb}}")
TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 50, 70, 100, 150, 200, 300)


def family(spot: Spot) -> str:
    return "control" if not spot.method else spot.method.split(".")[0]


def scatter(spots: Sequence[Spot], title: str, *, lowest: float) -> str:
    """The SVG of a dataset's spots; those that lose more than `lowest` lie on the lower edge as triangles."""
    drawn = [spot for spot in spots if spot.ratio > 0.9]
    right = max((spot.ratio for spot in drawn), default=2) * 1.15
    top = max(0.001, *(spot.difference for spot in drawn)) * 1.15

    def x(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / 0.95) / math.log(right / 0.95)

    def y(difference: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - max(difference, lowest)) / (top - lowest)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(title)}"><style>{STYLE}</style>',
             f'<text class="t" x="{LEFT}" y="20">{escape(title)}</text>']
    parts += _axes(x, y, right, top, lowest)
    for spot in sorted(drawn, key=lambda spot: bool(spot.method)):
        parts.append(_mark(spot, x(spot.ratio), y(spot.difference), y(spot.low), y(min(spot.high, top)),
                           below=spot.difference < lowest))
    front = [spot for spot in frontier(drawn) if spot.difference >= lowest]
    if front:
        parts.append('<polyline class="front" points="'
                     + " ".join(f"{x(spot.ratio):.1f},{y(spot.difference):.1f}" for spot in front) + '"/>')
    parts += _names(front, x, y)
    parts += _legend(sorted({family(spot) for spot in drawn}), any(spot.difference < lowest for spot in drawn))
    return "\n".join([*parts, "</svg>\n"])


def _axes(x, y, right: float, top: float, lowest: float) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}"/>',
             f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">times smaller than '
             "the fp32 export (log) → better</text>",
             f'<text transform="translate(14 {(TOP + base) / 2:.0f}) rotate(-90)" text-anchor="middle">AUC difference '
             "to the fp32 export → better</text>"]
    last = -math.inf
    for tick in TICKS:
        if tick <= right and x(tick) - last > 26:
            last = x(tick)
            parts.append(f'<path class="grid" d="M{last:.1f} {TOP}V{base}"/>'
                         f'<text x="{last:.1f}" y="{base + 15}" text-anchor="middle">{tick:g}×</text>')
    step = _nice((top - lowest) / 6)
    for place in range(math.ceil(lowest / step), math.floor(top / step) + 1):
        value = place * step
        parts.append(f'<path class="{"axis" if place == 0 else "grid"}" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:+.4g}</text>')
    return parts


def _nice(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _mark(spot: Spot, x: float, y: float, low: float, high: float, *, below: bool) -> str:
    colour = COLOURS.get(family(spot), "#7f7f7f")
    tip = (f"<title>{escape(spot.name)} ({escape(spot.setting)}): × {spot.ratio:.2f}, {spot.difference:+.5f} "
           f"[{spot.low:+.5f}, {spot.high:+.5f}]</title>")
    if below:
        return f'<path fill="{colour}" opacity=".7" d="M{x - 4:.1f} {y - 7:.1f}h8l-4 7z">{tip}</path>'
    bar = f'<path stroke="{colour}" opacity=".35" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    if not spot.method:
        size = 3.2
        return bar + (f'<path stroke="{colour}" stroke-width="1.6" d="M{x - size:.1f} {y - size:.1f}l{2 * size} '
                      f'{2 * size}m0 {-2 * size}l{-2 * size} {2 * size}">{tip}</path>')
    fill = f'fill="{colour}"' if not spot.tuned else f'fill="none" stroke="{colour}" stroke-width="1.6"'
    return bar + f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" {fill}>{tip}</circle>'


def _names(front: Sequence[Spot], x, y) -> list[str]:
    """Each method's last spot on the frontier is named, where there is room."""
    parts, taken = [], []
    named: set[str] = set()
    for spot in reversed(front):
        name = spot.method if "." in spot.method else spot.series
        width = 6.2 * len(name)
        place = min(x(spot.ratio) + 5, WIDTH - RIGHT + 40 - width), y(spot.difference) - 6
        crowded = any(abs(place[0] - other[0]) < 120 and abs(place[1] - other[1]) < 12 for other in taken)
        if name in named or crowded:
            continue
        named.add(name)
        taken.append(place)
        parts.append(f'<text x="{place[0]:.1f}" y="{place[1]:.1f}">{escape(name)}</text>')
    return parts


def _legend(families: Sequence[str], clipped: bool) -> list[str]:
    left, parts = WIDTH - RIGHT + 50, []
    for place, name in enumerate(families):
        y = TOP + 8 + 17 * place
        shape = (f'<path stroke="{COLOURS["control"]}" stroke-width="1.6" d="M{left} {y - 7}l6 6m0 -6l-6 6"/>'
                 if name == "control" else f'<circle cx="{left + 3}" cy="{y - 4}" r="3.5" '
                                           f'fill="{COLOURS.get(name, "#7f7f7f")}"/>')
        parts.append(f'{shape}<text x="{left + 14}" y="{y}">{name}</text>')
    notes = ["ring: after an epoch", "bar: 95 %", "dashed: frontier"] + (["▾ loses more"] if clipped else [])
    start = TOP + 24 + 17 * len(families)
    return parts + [f'<text x="{left - 4}" y="{start + 15 * place}">{note}</text>' for place, note in enumerate(notes)]
