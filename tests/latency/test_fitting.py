"""Prices of operations fitted to whole networks: known answers, and intervals that hold what they have not seen."""

import numpy as np
import pytest

from supersam.latency.fitting import (
    FEATURES,
    errors,
    fit_prices,
    held_in_splits,
    held_left_out,
    predict_left_out,
    spread_left_out,
)

KNOWN = np.array([0.01, 0.06, 8.0, 0.005])  # ms per unit


def make_networks(n: int = 24, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Networks whose time is linear in their features but for the noise of their series, in n / 4 series."""
    rng = np.random.default_rng(seed)
    features = np.exp(rng.uniform(0, 4, (n, len(FEATURES)))) * [20, 1, 0.01, 20]
    series = [f"series{number % (n // 4)}" for number in range(n)]
    return features, features @ KNOWN * np.exp(noise * rng.standard_normal(n)), series


def test_fit_recovers_known_prices() -> None:
    features, ms, _ = make_networks()

    assert fit_prices(features, ms) == pytest.approx(KNOWN, rel=1e-8)


def test_prices_are_never_negative() -> None:
    features, _, _ = make_networks()
    ms = features @ [0.1, -0.02, 8.0, 0.05]
    assert (ms > 0).all()

    found = fit_prices(features, ms)

    assert found[1] == 0
    assert (found >= 0).all()


def test_errors_count_relative_to_the_network() -> None:
    features, ms, _ = make_networks(noise=0.1)
    larger = np.where(np.arange(len(ms)) < 5, 1000.0, 1.0)

    assert fit_prices(features * larger[:, None], ms * larger) == pytest.approx(fit_prices(features, ms), rel=1e-8)


def test_left_out_networks_are_not_seen() -> None:
    features, ms, series = make_networks()
    in_series_2 = np.array([name == "series2" for name in series])
    wrong = np.where(in_series_2, 9.0, ms)

    assert predict_left_out(features, ms, series) == pytest.approx(ms, rel=1e-8)
    predicted = predict_left_out(features, wrong, series)

    assert predicted[in_series_2] == pytest.approx(ms[in_series_2], rel=1e-8)
    assert not np.allclose(predicted[~in_series_2], ms[~in_series_2], rtol=1e-3)


def test_intervals_of_left_out_networks_are_not_made_with_them() -> None:
    features, ms, series = make_networks()
    in_series_2 = np.array([name == "series2" for name in series])
    wrong = np.where(in_series_2, 3 * ms, ms)

    held = held_left_out(features, wrong, series, least=1.01)

    assert not held[in_series_2].any()
    assert held_left_out(features, ms, series, least=1.01).all()


def test_intervals_of_exchangeable_networks_hold_nine_in_ten() -> None:
    features, ms, _ = make_networks(n=240, noise=0.2)
    each = list(range(len(ms)))

    assert 0.86 <= held_left_out(features, ms, [number // 6 for number in each]).mean() <= 0.95
    assert 0.86 <= held_in_splits(features, ms, [number // 6 for number in each], splits=20) <= 0.95


def test_a_least_spread_only_widens() -> None:
    features, ms, series = make_networks(noise=0.3)

    assert held_left_out(features, ms, series, least=50).all()
    assert (held_left_out(features, ms, series, least=1.5) >= held_left_out(features, ms, series)).all()
    assert spread_left_out(features, ms, series) > 1


def test_errors_are_those_done_by_hand() -> None:
    measured, predicted = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.08, 1.0, 4.0, 16.0])

    found = errors(measured, predicted)

    assert found.mape == pytest.approx((0.08 + 0.5 + 0.0 + 1.0) / 4)
    assert found.within_10 == 0.5
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))  # the first two have changed places
    assert found.factor_90 == pytest.approx(2.0)
    assert errors(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 4.0])).spearman == pytest.approx(1)  # ties
