"""Settings of foreign architectures: what shapes say, and what they don't (activation, heads). No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compression.spec.method import Params

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "leaky_relu", "elu", "silu", "none"]
Width = Annotated[int, Field(ge=1, le=65_536)]
Dim = Annotated[int, Field(ge=0, le=8192)]


class ChainParams(Params):
    """A chain of dense layers. `batch_norm`: before or after the activation; `last`: what follows the last layer."""

    widths: tuple[Width, ...] = Field(min_length=1, max_length=64)
    activation: Activation = "relu"
    batch_norm: Literal["none", "before", "after"] = "none"
    last: Literal["plain", "activated"] = "plain"
    bias: bool = True
    dropout: float = Field(0.0, ge=0, le=0.95)


class PairParams(Params):
    """Matrix factorisation, GMF, NeuMF. A dim of 0 leaves the part out.

    output: sum adds product and network; product, network and joined put a dense layer over them. compare: cosine
    brings both vectors of the product to length 1 first; distance and squared distance score by the negative Euclidean
    distance between them; scale multiplies the sum.
    """

    product_dim: Dim = 0
    compare: Literal["dot", "cosine", "distance", "squared distance"] = "dot"
    scale: float = Field(1.0, ge=-10_000, le=10_000)
    user_mlp_dim: Dim = 0
    item_mlp_dim: Dim = 0
    mlp: ChainParams | None = None
    biases: bool = False
    mean: bool = False
    output: Literal["sum", "product", "network", "joined"] = "sum"
    output_bias: bool = True
    first: Literal["product", "network"] = "product"
    networks_order: Literal["user first", "item first"] = "user first"


class FieldRankerParams(Params):
    """Fields' vectors through the parts that are there.

    numbers: vectors multiplies each by a learned vector; values puts them beside the vectors; bottom is a network whose
    result stands first among the vectors. first_order: a weight an id; first_order_pooling: how those of a list are
    pooled, where not as the vectors are. pairs: the dot products' sum (FM); dots: each of them, beside what the network
    reads, by the rows of the matrix below its diagonal (lower: 10, 20, 21, …) or above it (upper: 01, 02, …).
    wide: a dense layer over the numbers, added to the score. linear: one over the vectors, or over what the network
    reads (all). cross_form: x₀ ⊙ (W x + b) + x (matrix), x₀ ⊙ W x + b + x (added), or x₀ (w · x) + b + x (vector).
    """

    embedding_dim: int = Field(ge=1, le=8192)
    pooling: Literal["mean", "sum"] = "mean"
    first_order_pooling: Literal["same", "mean", "sum"] = "same"
    skip_padding: bool = True
    numbers: Literal["none", "vectors", "values", "bottom"] = "none"
    numbers_place: Literal["last", "first"] = "last"
    vectors: bool = True
    first_order: bool = False
    bias: bool = False
    wide: bool = False
    wide_bias: bool = True
    linear: Literal["none", "vectors", "all"] = "none"
    pairs: bool = False
    dots: bool = False
    dots_order: Literal["lower", "upper"] = "lower"
    bottom: ChainParams | None = None
    cross_layers: int = Field(0, ge=0, le=64)
    cross_form: Literal["matrix", "added", "vector"] = "matrix"
    structure: Literal["parallel", "stacked"] = "parallel"
    mlp: ChainParams | None = None
    output: bool = False
    output_bias: bool = True
    output_order: Literal["cross first", "network first"] = "cross first"


class TowersParams(Params):
    """Two towers; `scale` multiplies the cosine, and is no part of the weights."""

    user_dim: Width
    item_dim: Width
    user_tower: ChainParams
    item_tower: ChainParams
    compare: Literal["cosine", "dot"] = "cosine"
    scale: float = Field(1.0, ge=-10_000, le=10_000)


class BlocksParams(Params):
    """Transformer blocks. norm: post is after each sum, pre before each part, query before the queries alone (and
    the sum starts from them)."""

    n_blocks: int = Field(1, ge=0, le=96)
    heads: int = Field(1, ge=1, le=128)
    norm: Literal["post", "pre", "query"] = "post"
    feed_width: Width
    activation: Activation = "relu"
    attention_bias: bool = True
    attention_output: bool = True
    eps: float = Field(1e-5, ge=0, le=0.1)


class SequenceParams(Params):
    """SASRec and its like.

    scale: times √D; position_from: row of the place table that the first place reads. mask: zeros of the history are
    no keys of the attention (keys), their states are zeros before and after every block (states), both, or none.
    causal: a place sees those before it alone. read_from: the state of the last item, the mean of all items', or of all
    places'. outer_norm: where a norm stands whose name doesn't say it.
    """

    embedding_dim: Width
    length: Width
    place_rows: Width
    blocks: BlocksParams
    scale: Literal["root", "none"] = "root"
    position_from: int = Field(0, ge=0, le=4)
    padding: Literal["front", "end"] = "front"
    mask: Literal["keys", "states", "both", "none"] = "none"
    causal: bool = True
    read_from: Literal["last", "items", "places"] = "last"
    outer_norm: Literal["none", "embedding", "final"] = "none"
    embedding_norm: bool = False
    final_norm: bool = True


class RecurrentParams(Params):
    """GRU4Rec: a GRU, and a dense layer back to the width of the item table where there is one."""

    embedding_dim: Width
    length: Width
    hidden: Width
    n_layers: int = Field(1, ge=1, le=16)
    bias: bool = True
    output: bool = True
    padding: Literal["front", "end"] = "front"


class TextEncoderParams(Params):
    """A cross-encoder: token and place tables, blocks, one score from the first token or the mean of all.

    outer_norm: where a norm stands whose name doesn't say it.
    """

    embedding_dim: Width
    length: Width
    blocks: BlocksParams
    outer_norm: Literal["none", "embedding", "final"] = "none"
    embedding_norm: bool = False
    final_norm: bool = False
    pool: Literal["first", "mean"] = "first"
    pool_layer: bool = False
    pool_activation: Activation = "tanh"


class SentenceEncoderParams(Params):
    """A BERT-like encoder of texts.

    place_from: row of the place table that the first token reads. type_rows: 0 where tokens have no types. dense:
    layers behind the pooling. output: a vector a text, a score a text, or a score a pair of texts: `scale` times their
    cosine.
    """

    embedding_dim: Width
    length: Width
    place_rows: Width
    place_from: int = Field(0, ge=0, le=8)
    type_rows: int = Field(0, ge=0, le=64)
    blocks: BlocksParams
    pool: Literal["mean", "first", "max"] = "mean"
    pool_layer: bool = False
    pool_activation: Activation = "tanh"
    dense: tuple[ChainParams, ...] = Field((), max_length=8)
    normalize: bool = False
    output: Literal["vector", "score", "pair"] = "vector"
    scale: float = Field(20.0, gt=0, le=10_000)


class StaticEncoderParams(Params):
    """Static embeddings of tokens. output: a vector a text, or a score a pair of texts: `scale` times their cosine."""

    embedding_dim: Width
    length: Width
    normalize: bool = False
    output: Literal["vector", "pair"] = "vector"
    scale: float = Field(20.0, gt=0, le=10_000)

    @property
    def type_rows(self) -> int:
        """Tokens have no types."""
        return 0


class TextCNNParams(Params):
    """Convolutions over tokens, the largest or the mean answer of each filter, a chain to one score."""

    embedding_dim: Width
    length: Width
    filters: tuple[tuple[Width, Annotated[int, Field(ge=1, le=64)]], ...] = Field(min_length=1, max_length=32)
    same_length: bool = True
    activation: Activation = "relu"
    pool: Literal["max", "mean"] = "max"
    mlp: ChainParams
