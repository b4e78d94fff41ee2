"""Digests that decide what is the same: a manifest, a project, a spec."""

from __future__ import annotations

import hashlib
import json

from compression.spec import recipe as recipes
from compression.spec.digests import digested
from compression.spec.records import RunSpec, Target


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def manifest_digest(manifest: dict[str, str]) -> str:
    """The id of a model or dataset: equal files under equal names, equal id."""
    return _sha256(manifest)


def project_key(model: str, data: str, target: Target) -> str:
    """The key of model × dataset × target, short enough for a URL."""
    return _sha256([model, data, digested(target)])[:16]


def spec_digest(spec: RunSpec, *, code: str) -> str:
    """Equal digests mean equal results on equal devices: model, data, recipe without its name, target, code.

    Raises RecipeError for an unknown method or a broken bound.
    """
    return _sha256([spec.model, spec.data, recipes.digest(spec.recipe), digested(spec.target), code])


def device_kind(device: str) -> str:
    """ "cuda:0" → "cuda"."""
    return device.split(":")[0]
