"""Small folders as Hugging Face and sentence-transformers save them, and their answers from the files alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

DIM, HEADS, LAYERS, FEED, ROWS, PLACES = 8, 2, 2, 12, 50, 20
CONFIG = {"architectures": ["BertModel"], "model_type": "bert", "hidden_size": DIM, "num_attention_heads": HEADS,
          "num_hidden_layers": LAYERS, "intermediate_size": FEED, "vocab_size": ROWS, "type_vocab_size": 2,
          "max_position_embeddings": PLACES, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}
DISTIL = {"model_type": "distilbert", "architectures": ["DistilBertModel"], "dim": DIM, "n_heads": HEADS,
          "n_layers": LAYERS, "hidden_dim": FEED, "vocab_size": ROWS, "max_position_embeddings": PLACES,
          "activation": "gelu"}
MEAN = {"word_embedding_dimension": DIM, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
DISTIL_NAMES = {"encoder.layer": "transformer.layer", "attention.self.query": "attention.q_lin",
                "attention.self.key": "attention.k_lin", "attention.self.value": "attention.v_lin",
                "attention.output.dense": "attention.out_lin", "attention.output.LayerNorm": "sa_layer_norm",
                "intermediate.dense": "ffn.lin1", ".output.dense": ".ffn.lin2",
                ".output.LayerNorm": ".output_layer_norm"}


def bert_state(*, types: bool = True, places: int = PLACES, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names of transformers' BertModel."""
    draw = torch.Generator().manual_seed(seed)

    def dense(name: str, n_in: int, n_out: int) -> dict[str, Tensor]:
        return {f"{name}.weight": torch.randn(n_out, n_in, generator=draw) / n_in ** 0.5,
                f"{name}.bias": torch.randn(n_out, generator=draw) * 0.1}

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + torch.randn(DIM, generator=draw) * 0.2,
                f"{name}.bias": torch.randn(DIM, generator=draw) * 0.2}

    tables = {"word": ROWS, "position": places} | ({"token_type": 2} if types else {})
    state = {f"embeddings.{name}_embeddings.weight": torch.randn(rows, DIM, generator=draw)
             for name, rows in tables.items()} | norm("embeddings.LayerNorm")
    for place in range(LAYERS):
        start = f"encoder.layer.{place}"
        for part in ("query", "key", "value"):
            state |= dense(f"{start}.attention.self.{part}", DIM, DIM)
        state |= dense(f"{start}.attention.output.dense", DIM, DIM) | norm(f"{start}.attention.output.LayerNorm")
        state |= dense(f"{start}.intermediate.dense", DIM, FEED) | dense(f"{start}.output.dense", FEED, DIM)
        state |= norm(f"{start}.output.LayerNorm")
    return state


def distil_state() -> dict[str, Tensor]:
    """The same under the names of DistilBERT."""
    state = {}
    for name, tensor in bert_state(types=False).items():
        for old, new in DISTIL_NAMES.items():
            name = name.replace(old, new)
        state[name] = tensor
    return state


def write_folder(folder: Path, state: dict[str, Tensor], config: dict[str, Any] | None = None, *,
                 modules: list[str] | None = None, pooling: dict[str, Any] | None = None, dense: Tensor | None = None,
                 length: int | None = None) -> Path:
    """A folder; `modules` ("Pooling", "Dense", "Normalize") stand behind the encoder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if modules is not None:
        names = ["Transformer", *modules]
        listed = [{"idx": place, "name": str(place), "path": f"{place}_{name}" if place else "",
                   "type": f"sentence_transformers.models.{name}"} for place, name in enumerate(names)]
        (folder / "modules.json").write_text(json.dumps(listed))
        for place, name in enumerate(names):
            if name in ("Pooling", "Dense"):
                (folder / f"{place}_{name}").mkdir()
                plain = (pooling or MEAN) if name == "Pooling" else {
                    "in_features": DIM, "out_features": len(dense), "bias": False,
                    "activation_function": "torch.nn.modules.activation.Tanh"}
                (folder / f"{place}_{name}" / "config.json").write_text(json.dumps(plain))
                if name == "Dense":
                    save_file({"linear.weight": dense}, folder / f"{place}_{name}" / "model.safetensors")
    if length is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    return folder


def zipped(folder: Path) -> dict[str, Path]:
    """The folder as one upload."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return {path.name: path}


def bert_states(state: dict[str, Tensor], ids: Tensor, mask: Tensor, types: Tensor | None = None, *,
                heads: int = HEADS, eps: float = 1e-12, place_from: int = 0) -> Tensor:
    """The last hidden states (B, L, D) of a BertModel, written down from the paper."""
    def dense(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    x = state["embeddings.word_embeddings.weight"][ids]
    x = x + state["embeddings.position_embeddings.weight"][torch.arange(ids.shape[1]) + place_from]
    if "embeddings.token_type_embeddings.weight" in state:
        x = x + state["embeddings.token_type_embeddings.weight"][torch.zeros_like(ids) if types is None else types]
    x = norm("embeddings.LayerNorm", x)
    n_layers = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
    for start in (f"encoder.layer.{place}" for place in range(n_layers)):
        q, k, v = (dense(f"{start}.attention.self.{part}", x).unflatten(-1, (heads, -1)).transpose(1, 2)
                   for part in ("query", "key", "value"))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
        x = norm(f"{start}.attention.output.LayerNorm",
                 x + dense(f"{start}.attention.output.dense", seen.transpose(1, 2).flatten(2)))
        x = norm(f"{start}.output.LayerNorm",
                 x + dense(f"{start}.output.dense", F.gelu(dense(f"{start}.intermediate.dense", x))))
    return x


def mean_of(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
