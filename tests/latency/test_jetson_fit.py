"""The fit behind the Jetson table: known answers, and that the shipped files are what it makes."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "0001-jetson-agx-orin"
KNOWN = np.array([0.01, 0.06, 8.0, 0.005])  # ms per unit


@pytest.fixture(scope="module")
def fit() -> Iterator[ModuleType]:
    """The experiment as a module; its folder is not a package."""
    spec = importlib.util.spec_from_file_location("jetson_fit", EXPERIMENT / "fit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def result(fit: ModuleType) -> Any:
    return fit.study(fit.read_rows())


def make_rows(fit: ModuleType, coefficients: Any, n: int = 24) -> list[Any]:
    """Rows whose latency is exactly linear in their features, in six series."""
    rng = np.random.default_rng(0)
    features = np.exp(rng.uniform(0, 4, (n, len(KNOWN)))) * [20, 1, 0.01, 20]
    return [
        fit.Row(f"net{number}", "224x224", f"series{number % 6}", float(row @ coefficients), tuple(row), "code")
        for number, row in enumerate(features)
    ]


def test_fit_recovers_known_coefficients(fit: ModuleType) -> None:
    assert fit.fit(make_rows(fit, KNOWN)) == pytest.approx(KNOWN, rel=1e-8)


def test_coefficients_are_never_negative(fit: ModuleType) -> None:
    rows = make_rows(fit, [0.1, -0.02, 8.0, 0.05])
    assert all(row.latency_ms > 0 for row in rows)

    found = fit.fit(rows)

    assert found[1] == 0
    assert (found >= 0).all()


def test_errors_count_relative_to_the_row(fit: ModuleType) -> None:
    rng = np.random.default_rng(1)
    noisy = [row._replace(latency_ms=row.latency_ms * rng.uniform(0.8, 1.25)) for row in make_rows(fit, KNOWN)]
    times_1000 = [
        row._replace(latency_ms=row.latency_ms * 1000, features=tuple(1000 * value for value in row.features))
        for row in noisy[:5]
    ]

    assert fit.fit([*times_1000, *noisy[5:]]) == pytest.approx(fit.fit(noisy), rel=1e-8)


def test_left_out_rows_are_not_seen(fit: ModuleType) -> None:
    rows = make_rows(fit, KNOWN)
    series = [row.series for row in rows]
    measured = fit.measured_ms(rows)
    wrong = [row._replace(latency_ms=9.0) if row.series == "series2" else row for row in rows]

    assert fit.predict_left_out(rows, series) == pytest.approx(measured, rel=1e-8)
    predicted = fit.predict_left_out(wrong, series)

    in_series_2 = np.array([name == "series2" for name in series])
    assert predicted[in_series_2] == pytest.approx(measured[in_series_2], rel=1e-8)
    assert not np.allclose(predicted[~in_series_2], measured[~in_series_2], rtol=1e-3)


def test_errors_are_those_done_by_hand(fit: ModuleType) -> None:
    measured, predicted = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.08, 1.0, 4.0, 16.0])

    found = fit.errors(measured, predicted)

    assert found.mape == pytest.approx((0.08 + 0.5 + 0.0 + 1.0) / 4)
    assert found.within_10 == 0.5
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))  # the first two have changed places
    assert found.factors == pytest.approx({50: 2.0, 80: 2.0, 90: 2.0})


@pytest.mark.parametrize(
    ("n", "percent", "expected"), [(34, 90, 32), (34, 80, 28), (34, 50, 18), (9, 90, 9), (3, 90, 3)]
)
def test_conformal_quantile_is_the_value_of_its_rank(fit: ModuleType, n: int, percent: int, expected: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))

    assert fit.conformal_quantile(values, percent) == expected


def test_rounding_keeps_intervals_in_order(fit: ModuleType) -> None:
    assert fit.rounded(0.123449) == 0.1234
    assert fit.rounded(123456.0) == 123500.0
    values = np.sort(np.random.default_rng(0).uniform(0.09, 0.11, 1000))
    assert np.all(np.diff([fit.rounded(value) for value in values]) >= 0)


def test_every_calibration_row_says_where_it_is_from(fit: ModuleType, result: Any) -> None:
    assert len(result.rows) == len({(row.model, row.resolution) for row in result.rows}) == 34
    for row in result.rows:
        assert "Apache-2.0" in row.source
        assert row.latency_ms > 0
        assert min(row.features) >= 0
    assert fit.addresses(result.rows)[-1] == (
        "https://github.com/Nota-NetsPresso/netspresso-trainer/blob/cdefe125/docs/benchmarks/device_matrix/tensorrt.md"
    )


def test_spread_covers_nine_in_ten_rows_of_series_left_out(fit: ModuleType, result: Any) -> None:
    estimator = fit.make_estimator(result)
    factors = np.exp(np.abs(np.log(result.series_out_ms / fit.measured_ms(result.rows))))

    assert estimator.spread >= 1.4
    assert (factors <= estimator.spread).mean() >= 0.9
    assert estimator.spread_of_kind == {"vit": 2.0, "rwkv": 2.0, "sam_layer": 2.0}
    assert estimator.calibration_rows == len(result.rows)


def test_shipped_files_are_what_the_fit_makes(fit: ModuleType, result: Any) -> None:
    assert fit.stale({fit.TABLE: fit.make_table(result).to_json(), fit.RESULTS: fit.results_csv(result)}) == []


def test_readme_quotes_what_the_fit_prints(fit: ModuleType, result: Any) -> None:
    readme = (EXPERIMENT / "README.md").read_text(encoding="utf-8")

    assert fit.summary(result) in readme


def test_check_fails_when_the_table_differs(
    fit: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit.main(["--check"]) == 0
    copy = tmp_path / fit.TABLE.name
    copy.write_text(fit.TABLE.read_text(encoding="utf-8").replace('"grade": "E"', '"grade": "A"'), encoding="utf-8")
    monkeypatch.setattr(fit, "TABLE", copy)

    assert fit.main(["--check"]) == 1

    assert copy.name in capsys.readouterr().out
