"""The table of breaks that `python -m tests.mutations` makes, one at a time, by part of the product."""

from tests.breaks.engine import ENGINE
from tests.breaks.methods import METHODS
from tests.breaks.numbers import NUMBERS
from tests.breaks.service import SERVICE
from tests.breaks.web import WEB

BREAKS = (*NUMBERS, *ENGINE, *METHODS, *SERVICE, *WEB)
