"""What is made from files is made once, whoever asks at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.file_cache import FileCache


def test_threads_that_ask_at_once_share_one_making():
    cache, both, made = FileCache(), threading.Barrier(2), []

    def ask(_: int) -> str:
        both.wait(timeout=10)
        return cache.get("key", 1, lambda: made.append(threading.Event().wait(0.05)) or "value")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == ["value", "value"]
    assert len(made) == 1


def test_what_is_made_may_ask_for_other_keys_and_for_its_own_again():
    cache = FileCache()

    assert cache.get("sum", 1, lambda: 1 + cache.get("part", 1, lambda: 2)) == 3
    assert cache.get("sum", 2, lambda: cache.get("sum", 1, lambda: 5)) == 3


def test_a_failure_is_not_remembered_and_lets_the_next_one_in():
    cache = FileCache()
    with pytest.raises(ZeroDivisionError):
        cache.get("key", 1, lambda: 1 // 0)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache.get, "key", 1, lambda: "value").result(timeout=10) == "value"
