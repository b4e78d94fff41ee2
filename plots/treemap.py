"""Where a model's bytes are: one tile for each table and layer, grouped by what they do.

    tiles = treemap_tiles(description)     # tested
    figure = draw_treemap(tiles)           # looked at
"""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from compression.spec.records import Layer, ModelDescription, Part
from compression.tasks.units import human_bytes, human_count
from plots.text import literal
from plots.theme import FONT, palette, template

PART_TITLES = {Part.EMBEDDING: "Embedding tables", Part.DENSE: "Dense layers", Part.INTERACTION: "Interactions",
               Part.OUTPUT: "Output"}
GRAPH = "Graph"
# white text holds AA on each; none is the colour of a method family
COLOURS = {Part.EMBEDDING: "#0F766E", Part.DENSE: "#475A75", Part.INTERACTION: "#7A4E8C", Part.OUTPUT: "#8A5A14",
           GRAPH: "#5B6670"}
MOST_TILES = 60  # of one part; the smallest beyond share a tile


@dataclass(frozen=True)
class Tile:
    """A rectangle: a layer, or several small ones; `parent` is the title of its part, "" for a part."""

    key: str
    parent: str
    label: str
    size_bytes: int
    part: Part | str
    detail: str


def treemap_tiles(description: ModelDescription) -> list[Tile]:
    """Parts, then their layers from large to small; the bytes of a part are the sum of its tiles."""
    tiles: list[Tile] = []
    for part in Part:
        layers = sorted((one for one in description.layers if one.part is part and one.size_bytes),
                        key=lambda one: -one.size_bytes)
        if not layers:
            continue
        total = sum(one.size_bytes for one in layers)
        tiles.append(Tile(part.value, "", PART_TITLES[part], total, part, f"{len(layers)} layers"))
        tiles += [Tile(f"{part.value}/{one.name}", part.value, layer_label(one), one.size_bytes, part,
                       layer_detail(one)) for one in layers[:MOST_TILES]]
        rest = layers[MOST_TILES:]
        if rest:
            tiles.append(Tile(f"{part.value}/…", part.value, f"{len(rest)} smaller",
                              sum(one.size_bytes for one in rest), part, "the smallest layers together"))
    if description.graph_bytes:
        tiles.append(Tile("graph", "", GRAPH, description.graph_bytes, GRAPH,
                          "operators, names and shapes of the exported file"))
    return tiles


def layer_label(layer: Layer) -> str:
    """A table by the column it reads, one of single weights (D = 1) marked as such; another layer by its path."""
    if layer.field and layer.part is Part.EMBEDDING and layer.shape[-1] == 1:
        return f"{layer.field} weights"
    return layer.field or layer.name


def layer_detail(layer: Layer) -> str:
    """ "Embedding, 1,683 × 16, float32, 26.9k parameters"."""
    dtypes = " + ".join(sorted({tensor.dtype for tensor in layer.tensors}))
    shape = " × ".join(f"{length:,}" for length in layer.shape)
    return f"{layer.name}: {layer.kind}, {shape}, {dtypes}, {human_count(parameter_count(layer))} parameters"


def parameter_count(layer: Layer) -> int:
    """Numbers a layer stores, whatever their width."""
    count = 0
    for tensor in layer.tensors:
        product = 1
        for length in tensor.shape:
            product *= length
        count += product
    return count


def bytes_sentence(description: ModelDescription) -> str:
    """What the treemap says, in words: "97 % of the bytes are in 8 embedding tables; item alone holds 55 %."."""
    total = description.size_bytes
    tables = [one for one in description.layers if one.part is Part.EMBEDDING]
    if not total or not tables:
        return ""
    share = sum(one.size_bytes for one in tables) / total
    largest = max(tables, key=lambda one: one.size_bytes)
    count = "1 embedding table" if len(tables) == 1 else f"{len(tables)} embedding tables"
    text = f"{share:.0%} of the bytes are in {count}".replace("%", " %")
    if len(tables) > 1:
        text += f"; {layer_label(largest)} alone holds {largest.size_bytes / total:.0%}".replace("%", " %")
    return text + "."


def draw_treemap(tiles: list[Tile], *, dark: bool = False, height: int = 420) -> go.Figure:
    """The treemap, hover with bytes and share of the whole."""
    total = sum(tile.size_bytes for tile in tiles if not tile.parent)
    figure = go.Figure(go.Treemap(
        ids=[tile.key for tile in tiles], parents=[tile.parent for tile in tiles],
        labels=[literal(tile.label) for tile in tiles],
        values=[tile.size_bytes for tile in tiles], branchvalues="total",
        marker={"colors": [COLOURS[tile.part] for tile in tiles], "cornerradius": 4,
                "line": {"width": 1.5, "color": palette(dark).surface}},
        customdata=[[human_bytes(tile.size_bytes), f"{tile.size_bytes / max(total, 1):.1%}".replace("%", " %"),
                     literal(tile.detail)] for tile in tiles],
        texttemplate="%{label}<br>%{customdata[0]}", textfont={"color": "#FFFFFF", "family": FONT, "size": 13},
        hovertemplate="<b>%{label}</b><br>%{customdata[0]}, %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        tiling={"pad": 2}, pathbar={"visible": False}))
    figure.update_layout(template=template(dark), height=height, uniformtext={"minsize": 10, "mode": "hide"},
                         margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return figure
