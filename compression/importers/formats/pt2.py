"""A program of torch.export: its graph, checked, is written as ONNX by our own exporter."""

from __future__ import annotations

from pathlib import Path

from compression.importers.format import Format, Upload, importer
from compression.importers.format_sniffing import is_pt2_file


def converted(upload: Upload) -> dict[str, Path]:
    """The graph as ONNX, with its data and what came beside the program."""
    from compression.importers.pt2.file import read_pt2
    from compression.importers.pt2.writer import write_onnx

    graph = upload.scratch / f"{upload.name}.onnx"
    write_onnx(read_pt2(upload.path, upload.name), graph, upload.name)
    return upload.beside | {path.name: path for path in upload.scratch.glob(f"{graph.name}*")}


importer(Format(key="pt2", binary=True, title="torch.export program", endings=(".pt2",), companions=(".json",),
                opens=converted,
                admits={".pt2": is_pt2_file},
                refusal="is not an exported program as torch.export.save writes it. Export and save it again."))
