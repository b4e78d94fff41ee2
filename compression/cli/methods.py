"""The catalogue with every parameter and its bounds."""

from __future__ import annotations

import argparse

from compression.cli.given import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words it takes."""
    parser.add_argument("--markdown", action="store_true", help="a table for each family, with links to the cards")


def execute(options: argparse.Namespace) -> Answer:
    """What the command found or made."""
    from compression.spec.method import METHODS, bounds_text

    if options.markdown:
        from compression.spec.catalogue import markdown_list

        return {"markdown": markdown_list()}, markdown_list().rstrip()
    plain, lines = [], []
    for method in METHODS.values():
        schema = method.params.model_json_schema()
        plain.append(
            {
                "key": method.key,
                "title": method.title,
                "summary": method.summary,
                "stage": method.stage.value,
                "parts": sorted(method.parts),
                "needs": sorted(method.needs),
                "export": method.export.value,
                "gains": sorted(method.gains),
                "source": method.source,
                "params": schema,
            }
        )
        lines.append(f"{method.key}: {method.summary}")
        for name, info in method.params.model_fields.items():
            lines.append(
                f"    {name} = {info.get_default()}  ({bounds_text(method.params, name)})  {info.description or ''}"
            )
    return plain, "\n".join(lines)
