"""The treemap shows every byte once."""

from compression.spec.records import Part
from plots.treemap import MOST_TILES, bytes_sentence, draw_treemap, layer_detail, treemap_tiles
from tests.ui.filled import description


def test_every_byte_of_the_model_is_in_exactly_one_tile():
    model = description()
    tiles = treemap_tiles(model)
    assert sum(tile.size_bytes for tile in tiles if not tile.parent) == model.size_bytes
    for part in (tile for tile in tiles if not tile.parent and tile.key != "graph"):
        assert sum(tile.size_bytes for tile in tiles if tile.parent == part.key) == part.size_bytes


def test_tables_are_named_after_their_column_and_stand_from_large_to_small():
    labels = [tile.label for tile in treemap_tiles(description()) if tile.parent == "embedding"]
    assert labels == ["user", "item", "genre"]


def test_a_thousand_layers_share_one_tile_beyond_the_largest():
    model = description()
    table = model.layers[0]
    many = model.model_copy(update={"layers": tuple(table.model_copy(update={"name": f"t{k}"}) for k in range(1000))})
    tiles = treemap_tiles(many)
    assert len(tiles) == MOST_TILES + 3  # the part, the shared tile, the graph
    assert sum(tile.size_bytes for tile in tiles if not tile.parent) == many.size_bytes


def test_the_sentence_says_where_the_bytes_are():
    assert bytes_sentence(description()) == "77 % of the bytes are in 3 embedding tables; user alone holds 48 %."
    dense = [one for one in description().layers if one.part is not Part.EMBEDDING]
    assert bytes_sentence(description().model_copy(update={"layers": tuple(dense)})) == ""


def test_a_layer_tells_its_kind_shape_type_and_parameters():
    assert layer_detail(description().layers[0]) == "tables.user: Embedding, 6,041 × 16, float32, 96.7k parameters"


def test_the_figure_has_one_rectangle_for_each_tile():
    tiles = treemap_tiles(description())
    assert list(draw_treemap(tiles, dark=True).data[0].values) == [tile.size_bytes for tile in tiles]
