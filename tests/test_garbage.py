"""The pause of the garbage collection."""

import gc

import pytest

from supersam._garbage import without_garbage_collection


def test_garbage_is_collected_again_after_a_failure():
    def fail() -> None:
        assert not gc.isenabled()
        raise ZeroDivisionError

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), without_garbage_collection():
        fail()
    assert gc.isenabled()
