"""A recipe as a short text for an address, so that a colleague opens the page with the whole recipe in it.

    token = pack(recipe)            # "1eJyrVk…": letters, digits, - and _
    recipe = unpack(token)          # checked like any uploaded recipe

The first character is the version of this form. The rest is the recipe's JSON, deflated and written in base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib

from compression.spec.errors import RecipeError
from compression.spec.recipe import MAX_RECIPE_CHARS, load_json_recipe
from compression.spec.records import Recipe

VERSION = "1"
MAX_TOKEN_CHARS = 4000  # addresses of 8,000 characters pass every common server and chat; the rest of one is short
TOO_LONG = "This recipe is too long for a link; download it as YAML and send the file."


def pack(recipe: Recipe) -> str:
    """The recipe as a text for an address. Raises RecipeError for one that would be too long."""
    plain = recipe.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    if len(text) > MAX_RECIPE_CHARS or len(packed) >= MAX_TOKEN_CHARS:
        raise RecipeError(TOO_LONG)
    return VERSION + packed


def unpack(token: str) -> Recipe:
    """The recipe of a link. Raises RecipeError with what is wrong: cut off, of another version, or not a recipe."""
    if len(token) > MAX_TOKEN_CHARS:
        raise RecipeError(f"The recipe in this link has {len(token):,} characters; at most {MAX_TOKEN_CHARS:,} fit.")
    if token[:1] != VERSION:
        raise RecipeError("The recipe in this link is of a form that this version of RecPress doesn't know. "
                          "Ask for the recipe as YAML.")
    try:
        data = base64.b64decode(token[1:] + "=" * (-len(token[1:]) % 4), altchars=b"-_", validate=True)
        inflate = zlib.decompressobj()
        text = inflate.decompress(data, 4 * MAX_RECIPE_CHARS)  # never more than that, whatever the link promises
        if not inflate.eof or inflate.unused_data:
            raise ValueError
        plain = text.decode()
    except (binascii.Error, zlib.error, ValueError):
        raise RecipeError("The recipe in this link can't be read: the link was cut off or changed on its way. "
                          "Copy it again, whole.") from None
    return load_json_recipe(plain)
