"""Units of work in processes of their own: all are done, and a failure ends the rest."""

import operator

import pytest

from supersam.train.side_by_side import side_by_side


def test_every_unit_comes_back_with_its_number():
    assert dict(side_by_side(operator.sub, [(5,), (7,)], 1, 100)) == {0: -95, 1: -93}


def test_the_error_of_a_unit_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(operator.truediv, [(1,)], 1, 0))
