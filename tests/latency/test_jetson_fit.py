"""The fit behind the Jetson table: known answers, and that the shipped files are what it makes."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from supersam.latency.fitting import errors

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "0001-jetson-agx-orin"


@pytest.fixture(scope="module")
def fit(script_module: Any) -> Iterator[ModuleType]:
    """The experiment as a module; its folder is not a package."""
    with script_module(EXPERIMENT / "fit.py") as module:
        yield module


@pytest.fixture(scope="module")
def result(fit: ModuleType) -> Any:
    return fit.study(fit.read_rows())


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


def test_errors_are_those_the_project_promises(fit: ModuleType, result: Any) -> None:
    left_out = errors(fit.measured_ms(result.rows), result.series_out_ms)

    assert left_out.mape <= 0.12
    assert left_out.spearman >= 0.99


def test_interval_holds_nine_in_ten_rows_of_series_it_has_not_seen(fit: ModuleType, result: Any) -> None:
    estimator = fit.make_estimator(result)

    assert 0.85 <= result.held.mean() <= 0.95
    assert 0.85 <= result.held_in_splits <= 0.95
    assert estimator.spread == fit.SMALLEST_SPREAD >= fit.factor(fit.measured_ms(result.rows), result.series_out_ms, 90)
    assert estimator.spread_of_kind == {"vit": 2.0, "rwkv": 2.0, "sam_layer": 2.0}
    assert estimator.calibration_rows == len(result.rows)


def test_table_states_the_coverage(fit: ModuleType, result: Any) -> None:
    note = fit.make_table(result).note

    assert f"holds {fit.percent(result.held.mean())} of them" in note


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
