"""Inputs, layers and bytes of a model."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from compression.cli.given import Answer, model_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, help="dataset whose columns the inputs are bound to")
    parser.add_argument("--output", help="which output is the score, of a file that has several")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = model_folder(options.model, Path(scratch), options.data, output=options.output)
        from compression.models.files import load_model
        from compression.running.run import describe_model

        description = describe_model(load_model(folder), Path(scratch) / "export")
    lines = [f"{description.architecture}, {description.size_bytes:,} bytes exported"]
    for item in description.model_dump(mode="json")["signature"]["inputs"]:
        lines.append(f"  input {item['name']}: {item['kind']}, column {item['column']}, {item['cardinality'] or ''}")
    for layer in description.layers:
        shape = " × ".join(map(str, layer.shape))
        lines.append(f"  {layer.name}: {layer.kind} {shape}, {layer.size_bytes:,} bytes, {layer.part}")
    return description.model_dump(mode="json"), "\n".join(lines)
