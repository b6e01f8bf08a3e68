"""Times of others as tables: what their files say, what they do not, and rows that are none."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from supersam.errors import DamagedError, MissingEntryError, MissingError, UsageError
from supersam.importers import Conditions, import_aihub, import_csv, import_timm, import_trtexec
from supersam.latency import read_table
from supersam.space import load_space

Tells = Callable[..., AbstractContextManager[None]]
ORIN = Conditions("orin.mine", device="My Orin", precision="fp16")
PUBLIC = Path(os.environ.get("SUPERSAM_LATENCY", Path(__file__).parents[2] / ".." / "shared" / "latency")) / "public"

# trtexec


def runs(*times: float) -> list[dict[str, float]]:
    """As ``--exportTimes`` of TensorRT 8.5 and later."""
    return [{"startH2dMs": 0.0, "startComputeMs": 1.0, "computeMs": ms, "latencyMs": ms + 0.4} for ms in times]


def layers(**statistics: float) -> list[dict[str, Any]]:
    """As ``--exportProfile``."""
    names = ("Reformatting CopyNode for Input Tensor 0", "conv1 + relu", "conv2")
    shared = {"timeMs": 30.0, "percentage": 33.3}
    return [{"count": 100}, *({"name": name, **shared, **statistics} for name in names)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("[\n" + "\n, ".join(json.dumps(row) for row in rows) + "\n]\n")
    return path


def test_times_of_trtexec_are_medians_of_computing(tmp_path: Path) -> None:
    path = write(tmp_path / "repvit.json", runs(2.0, 2.1, 1.9, 2.0, 9.0))

    table = import_trtexec([path], ORIN)

    network = table.networks["repvit"]
    assert (network.ms, network.samples, network.rounds) == (2.0, 5, (2.0,))
    assert network.lo == pytest.approx(1.92)
    assert network.hi == pytest.approx(7.62)
    assert (table.runtime.name, table.clock, table.precision, table.device.name) == (
        "tensorrt",
        "trtexec_gpu",
        "fp16",
        "My Orin",
    )
    assert (table.grade, table.date, table.power.mode) == ("D", None, "not stated")


def test_several_files_of_a_network_are_rounds_and_can_earn_a_grade(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.json", runs(ms, ms)) for n, ms in enumerate((2.0, 2.01, 2.02))]

    known = Conditions("orin.mine", date="2026-11-22", clocks_locked=True, gpu_mhz=1300.5, power_mode="MAXN")
    table = import_trtexec(files, known, "repvit")

    network = table.networks["repvit"]
    assert (network.lo, network.ms, network.hi) == (2.0, 2.01, 2.02)
    assert network.rounds == (2.0, 2.01, 2.02)
    assert table.grade == "A"
    assert import_trtexec(files, ORIN, "repvit").grade == "D"


def test_profile_beside_times_tells_the_share_of_reformatting(tmp_path: Path) -> None:
    times = write(tmp_path / "times.json", runs(2.0))
    profile = write(tmp_path / "profile.json", layers(averageMs=0.5, medianMs=0.4))

    network = import_trtexec([times, profile], ORIN, "repvit").networks["repvit"]

    assert network.ms == 2.0
    assert "3 layers, 33.3 % of their time reformatting" in network.source
    assert list(import_trtexec([times, profile], ORIN).networks) == ["times"]


@pytest.mark.parametrize(
    ("statistics", "ms", "stat"),
    [({"averageMs": 0.5, "medianMs": 0.4}, 1.2, "median"), ({"averageMs": 0.5}, 1.5, "mean")],
)
def test_profile_alone_is_a_sum_and_says_of_what(
    tmp_path: Path, statistics: dict[str, float], ms: float, stat: str
) -> None:
    path = write(tmp_path / "googlenet.json", layers(**statistics))

    table = import_trtexec([path], ORIN)

    assert table.networks["googlenet"].ms == pytest.approx(ms)
    assert f"stat={stat}" in table.networks["googlenet"].source
    assert ("no median" in table.note) == (stat == "mean")
    assert "profiling slows" in table.note
    assert table.grade == "D"


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, "2.0 ms", True, 1e12, 10**400])
def test_bad_time_of_trtexec_is_told_with_its_line(tmp_path: Path, tells: Tells, value: object) -> None:
    path = write(tmp_path / "times.json", [*runs(2.0, 2.0), {"computeMs": value}])

    with tells(DamagedError, f"{path}:4", "computeMs"):
        import_trtexec([path], ORIN)


@pytest.mark.parametrize(("text", "line"), [("[", 1), ("{}", 1), ("[]", 1), ('[\n{"a": 1}]', 2), ("[\n1,\n]", 3)])
def test_what_is_not_of_trtexec_is_told_with_its_line(tmp_path: Path, tells: Tells, text: str, line: int) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)

    with tells(DamagedError, f"{path}:{line}"):
        import_trtexec([path], ORIN)


def test_bad_layer_is_told_with_its_line(tmp_path: Path, tells: Tells) -> None:
    rows = layers(averageMs=0.5)
    rows[2]["averageMs"] = -0.5
    path = write(tmp_path / "profile.json", rows)

    with tells(DamagedError, f"{path}:4", "layer 2"):
        import_trtexec([path], ORIN)


@pytest.mark.parametrize("row", [5, None, "layer", []])
def test_layer_that_is_none_is_told(tmp_path: Path, tells: Tells, row: object) -> None:
    path = write(tmp_path / "profile.json", [*layers(averageMs=0.5), row])

    with tells(DamagedError, f"{path}:6", "layer 4"):
        import_trtexec([path], ORIN)


def test_profile_of_nobody_knows_what_is_refused(tmp_path: Path, tells: Tells) -> None:
    files = [write(tmp_path / f"{name}.json", runs(2.0)) for name in ("a", "b")]
    files.append(write(tmp_path / "c.json", layers(averageMs=0.5)))

    with tells(UsageError, "'c'", "--network"):
        import_trtexec(files, ORIN)


# Qualcomm AI Hub

PERF = """supported_devices:
- Some Phone
precisions:
  float:
    components:
      Encoder:
        performance_metrics:
          Some Phone:
            tflite:
              job_id: jabc
              job_status: Passed
              inference_time_milliseconds: 65.5
              primary_compute_unit: NPU
              layer_counts: {total: 12, npu: 12}
              tool_versions: {qairt: 2.42.0, tflite: 2.17.0}
            onnx:
              job_id: jdef
              job_status: Failed
              inference_time_milliseconds: null
          Some Board:
            tflite:
              job_id: jghi
              job_status: Passed
              inference_time_milliseconds: 120
              primary_compute_unit: GPU
              tool_versions: {qairt: 2.42.0, tflite: 2.17.0}
      Decoder:
        performance_metrics:
          Some Phone:
            tflite:
              job_id: jklm
              job_status: Passed
              inference_time_milliseconds: 4.25
              primary_compute_unit: CPU
              tool_versions: {qairt: 2.42.0, tflite: 2.17.0}
"""


@pytest.fixture
def perf(tmp_path: Path) -> Path:
    path = tmp_path / "sam" / "perf.yaml"
    path.parent.mkdir()
    path.write_text(PERF)
    return path


def test_perf_yaml_gives_the_networks_of_one_device(perf: Path) -> None:
    table = import_aihub([perf], Conditions("phone", device="some phone"))

    assert {name: network.ms for name, network in table.networks.items()} == {"Encoder": 65.5, "Decoder": 4.25}
    assert "job jabc; mostly on the NPU; 12 layers total, 12 layers npu" in table.networks["Encoder"].source
    assert (table.device.name, table.device.kind) == ("Some Phone", "soc")
    assert (table.runtime.name, table.runtime.version) == ("tflite", "qairt 2.42.0, tflite 2.17.0")
    assert (table.precision, table.grade, table.clock) == ("float", "D", "published")


def test_choice_that_the_file_leaves_is_asked_for(perf: Path, tells: Tells) -> None:
    with tells(UsageError, "--device", "Some Phone, Some Board"):
        import_aihub([perf], Conditions("phone"))
    with tells(UsageError, "'some phon'", "Did you mean 'Some Phone'?"):
        import_aihub([perf], Conditions("phone", device="some phon"))
    with tells(UsageError, "no runtime 'onnx'", "tflite"):  # its only job failed
        import_aihub([perf], Conditions("phone", device="Some Phone", runtime="onnx"))


@pytest.mark.parametrize("value", ["-4.25", "0", ".nan", "soon", "null"])
def test_bad_time_of_perf_yaml_is_told_with_its_line(perf: Path, tells: Tells, value: str) -> None:
    perf.write_text(PERF.replace("4.25", value))

    line = PERF[: PERF.index("4.25")].count("\n") + 1
    with tells(DamagedError, f"{perf}:{line}:", "inference_time_milliseconds"):
        import_aihub([perf], Conditions("phone", device="Some Phone"))


def test_times_of_two_versions_never_share_a_table(perf: Path, tmp_path: Path, tells: Tells) -> None:
    other = tmp_path / "perf.yaml"
    other.write_text(PERF.replace("2.17.0", "2.18.0").replace("coder:", "coder2:"))

    with tells(UsageError, "tflite 2.17.0", "tflite 2.18.0"):
        import_aihub([perf, other], Conditions("phone", device="Some Phone"))


@pytest.mark.parametrize("text", ["a: [", "[]", "precisions: 1", "precisions: {}"])
def test_what_is_no_perf_yaml_is_told(perf: Path, tells: Tells, text: str) -> None:
    perf.write_text(text)

    with tells(DamagedError, f"{perf}:"):
        import_aihub([perf], Conditions("phone"))


# timm

HEAD = "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,infer_gmacs,infer_macts"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "benchmark-infer-fp32-nchw-pt2110-cpu-i7_12700h-dynamo.csv"
    path.write_text(f"{HEAD}\nnet_a,224,50.0,20.0,1,5.0,1.0,2.0\nnet_b,256,900.0,8.9,8,5.0,1.0,2.0\n")
    return path


def test_benchmark_of_timm_gives_rows_of_one_image_and_reads_its_own_name(bench: Path) -> None:
    table = import_timm(bench, Conditions("i7"))

    assert {name: network.ms for name, network in table.networks.items()} == {"net_a@224": 20.0}
    assert "1 rows of larger batches left out" in table.note
    assert "mean" in table.note
    assert (table.device.name, table.device.kind, table.precision) == ("i7_12700h", "cpu", "fp32")
    assert str(table.runtime) == "torch-compile 2.11.0"
    assert table.grade == "D"


def test_throughput_is_no_latency(bench: Path, tells: Tells) -> None:
    bench.write_text(f"{HEAD}\nnet_b,256,900.0,8.9,8,5.0,1.0,2.0\n")

    with tells(UsageError, "batch size 1", "8 (1 rows)"):
        import_timm(bench, Conditions("i7"))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("net_c,224,50.0,-20.0,1,5.0,1.0,2.0", "infer_step_time"),
        ("net_c,224,50.0,,1,5.0,1.0,2.0", "infer_step_time"),
        ("net_a,224,50.0,20.0,1,5.0,1.0,2.0", "twice"),
        ("net_c,224,50.0", "as many values"),
    ],
)
def test_bad_row_of_timm_is_told_with_its_line(bench: Path, tells: Tells, row: str, word: str) -> None:
    bench.write_text(bench.read_text() + row + "\n")

    with tells(DamagedError, f"{bench}:4", word):
        import_timm(bench, Conditions("i7"))


# Plain CSV


def test_plain_csv_holds_parts_and_networks(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "name,ms,rounds,scope,samples,source\n"
        "vit:16:128:4:0:16,4.0,3.9 4.0 4.2,chain,90,page 3\n"
        "repvit:16:64:2:0,1.0,,,,\n"
        "mobilesam,12.5,,,,table 2\n"
    )

    table = import_csv(path, Conditions("own", device="A board", kind="gpu"))

    vit = table.entries["vit:16:128:4:0:16"]
    assert (vit.lo, vit.ms, vit.hi, vit.scope, vit.samples, vit.source) == (3.9, 4.0, 4.2, "chain", 90, "page 3")
    assert table.entries["repvit:16:64:2:0"].scope == "isolated"
    assert table.networks["mobilesam"].ms == 12.5
    table.save(tmp_path / "own.json")
    assert read_table(tmp_path / "own.json") == table


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("net,0,,", "ms"),
        ("net,nan,,", "ms"),
        ("net,,,", "ms"),
        ("net,4,5,6", "interval"),
        ("vit:16:128,4,,", "'vit:16:128' is not vit:"),
        (",4,,", "no name"),
        ("first,4,,", "twice"),
        ("net,4", "as many values"),
        ("n" * 200_000 + ",4,,", "field"),
    ],
)
def test_bad_row_of_a_plain_csv_is_told_with_its_line(tmp_path: Path, tells: Tells, row: str, word: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"name,ms,lo,hi\nfirst,1,,\n{row}\n")

    with tells(DamagedError, f"{path}:3", word):
        import_csv(path, Conditions("own"))


def test_columns_that_are_not_understood_are_shown(tmp_path: Path, tells: Tells) -> None:
    path = tmp_path / "own.csv"
    path.write_text("name;ms\nmobilesam;12.5\n")

    with tells(DamagedError, "own.csv:1", "separated by commas", "there is 'name;ms'"):
        import_csv(path, Conditions("own"))


@pytest.mark.parametrize("head", ["name,time", "ms", "name,ms,speed", ""])
def test_unknown_or_missing_column_is_told(tmp_path: Path, tells: Tells, head: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(head + "\na,1,2\n")

    with tells(DamagedError, f"{path}:1", "columns are name, ms"):
        import_csv(path, Conditions("own"))


# All of them


def test_table_of_whole_networks_predicts_nothing_and_says_so(tmp_path: Path, tells: Tells) -> None:
    path = tmp_path / "own.csv"
    path.write_text("name, ms\nmobilesam,12.5\n")
    table = import_csv(path, Conditions("own"))

    with tells(MissingEntryError, "own"):
        table.predict(load_space("starter").smallest())


@pytest.mark.parametrize("conditions", [Conditions("My Table"), Conditions("own", date="yesterday")])
def test_words_that_no_table_takes_are_told(tmp_path: Path, tells: Tells, conditions: Conditions) -> None:
    path = tmp_path / "own.csv"
    path.write_text("name,ms\na,1\n")

    with tells(UsageError, "no latency table"):
        import_csv(path, conditions)


def test_missing_file_is_told(tmp_path: Path, tells: Tells) -> None:
    with tells(MissingError, tmp_path / "none.csv"):
        import_csv(tmp_path / "none.csv", Conditions("own"))


@pytest.mark.data
@pytest.mark.skipif(not PUBLIC.is_dir(), reason="needs the published files (SUPERSAM_LATENCY or ../shared/latency)")
def test_published_files_are_read() -> None:
    choice = Conditions("phone", device="Samsung Galaxy S24", runtime="tflite", precision="float")
    for model in ("mobilesam", "resnet18", "vit"):
        table = import_aihub([PUBLIC / "aihub_perf" / f"{model}.perf.yaml"], choice)
        assert table.networks
        assert table.grade == "D"
    table = import_timm(PUBLIC / "timm" / "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv", Conditions("i7"))
    assert len(table.networks) > 1000
    assert table.networks["test_vit@160"].ms == 1.315
    with pytest.raises(UsageError, match="larger batches give no latency"):
        import_timm(PUBLIC / "timm" / "benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv", Conditions("gpu"))
