"""Settings of the zoo's architectures: defaults, bounds and help, declared once. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compression.spec.method import Params


class LRParams(Params):
    """Logistic regression has nothing to set: one weight an id."""


class FMParams(Params):
    """Factorisation machine."""

    embedding_dim: int = Field(16, ge=1, le=256, description="Length of the vector each id gets.")


class WideDeepParams(Params):
    """Wide & Deep: a linear part beside a deep one."""

    embedding_dim: int = Field(16, ge=1, le=256, description="Length of the vector each id gets.")
    n_layers: int = Field(3, ge=1, le=6, description="Hidden layers of the deep part.")
    width: int = Field(128, ge=8, le=2048, multiple_of=8, description="Neurons in each hidden layer.")
    dropout: float = Field(0.2, ge=0, le=0.9, multiple_of=0.05,
                           description="Share of neurons silenced at random in each training step.")
    batch_norm: bool = Field(False, description="Standardise each hidden layer over the batch.")


class DNNParams(WideDeepParams):
    """A plain deep network over the vectors of all fields."""


class DeepFMParams(WideDeepParams):
    """DeepFM: a factorisation machine beside a deep part, over the same vectors."""

    first_order: bool = Field(True, description="Give each id a weight of its own beside its vector.")


class FinalMLPParams(WideDeepParams):
    """FinalMLP: two deep networks whose outputs are multiplied."""

    n_heads: Literal[1, 2, 4, 8] = Field(
        1, description="Parts in which the two outputs are multiplied; more parts have fewer weights.")
    gates: bool = Field(True, description="Let each network weigh the vectors' columns for itself.")


class DCNv2Params(WideDeepParams):
    """Deep & Cross Network, version 2."""

    structure: Literal["parallel", "stacked"] = Field(
        "parallel", description="Deep part beside the cross layers, or on top of them.")
    n_cross_layers: int = Field(3, ge=1, le=6,
                                description="Cross layers; each raises the order of interactions by one.")
    cross_rank: int = Field(0, ge=0, le=512,
                            description="Rank of each cross layer over all experts; 0 is a whole matrix.")
    n_experts: int = Field(1, ge=1, le=8, description="Gated experts that share the rank of a cross layer (DCN-Mix).")

    @property
    def shared_rank(self) -> int:
        """The rank as a multiple of the experts, at least 1 for each; 0 for whole matrices."""
        return self.n_experts * max(1, self.cross_rank // self.n_experts) if self.cross_rank else 0


class FieldConvParams(WideDeepParams):
    """Convolutions over the fields, and a deep network over what they find."""

    n_conv_layers: int = Field(2, ge=1, le=4, description="Convolutions, one on top of the other.")
    channels: int = Field(32, ge=8, le=256, multiple_of=8, description="Filters in each convolution.")
    kernel_size: Literal[3, 5, 7] = Field(3, description="Neighbouring fields that a filter sees at a time.")


class DLRMParams(Params):
    """DLRM: dot products between all vectors, an MLP below for numbers and one above."""

    embedding_dim: int = Field(16, ge=1, le=256, description="Length of the vector each id gets.")
    n_bottom_layers: int = Field(2, ge=1, le=6,
                                 description="Layers of the bottom MLP, which turns all numbers into one vector.")
    bottom_width: int = Field(64, ge=8, le=2048, multiple_of=8,
                              description="Neurons in each hidden layer of the bottom MLP.")
    n_layers: int = Field(3, ge=1, le=6, description="Hidden layers of the top MLP.")
    width: int = Field(128, ge=8, le=2048, multiple_of=8, description="Neurons in each hidden layer of the top MLP.")
    dropout: float = Field(0.2, ge=0, le=0.9, multiple_of=0.05,
                           description="Share of neurons silenced at random in each training step.")
    batch_norm: bool = Field(False, description="Standardise each hidden layer of the top MLP over the batch.")
