"""The exported tiny model of the tests of measuring."""

from tests.measure.conftest import dataset as dataset
from tests.measure.conftest import exported as exported
