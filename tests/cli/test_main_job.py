"""The main job as a newcomer does it: search, extract, evaluate, use the file."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from supersam.checkpoints.subnets import load_subnet
from supersam.latency import load_table
from supersam.results import Run
from supersam.space import architecture_from_dict

SEARCH = ["search", "--device", "jetson-orin", "--budget", "4ms"]
ROOT = Path(__file__).parents[2]
CANDIDATE_FIELDS = {
    "digest", "accuracy", "accuracy_source", "latency_ms", "latency_interval_ms", "latency_method", "gmacs",
    "params_m", "architecture",
}  # fmt: skip


@pytest.fixture
def found(searched):
    return searched(*SEARCH, "--trials", "80")


def test_a_search_answers_in_the_promised_json(found):
    assert found.keys() >= {"run", "device", "budget_ms", "n_trials", "best", "front"}
    assert found["device"] == "jetson-orin"
    assert found["budget_ms"] == 4.0
    assert found["n_trials"] == 80
    for candidate in [found["best"], *found["front"]]:
        assert candidate.keys() >= CANDIDATE_FIELDS
        assert candidate["accuracy_source"] in ("measured", "predicted")
        assert candidate["latency_method"] == "estimated"
        low, high = candidate["latency_interval_ms"]
        assert low < candidate["latency_ms"] < high


def test_the_best_is_the_most_accurate_of_all_measured_whose_upper_bound_is_within_the_budget(found):
    measured = [candidate for candidate in Run(Path("run")).candidates() if candidate.accuracy.source == "measured"]
    within = [candidate for candidate in measured if candidate.latency.hi <= 4.0]

    assert found["best"]["latency_interval_ms"][1] <= 4.0
    assert found["best"]["accuracy"] == max(candidate.to_dict()["accuracy"] for candidate in within)


@pytest.mark.parametrize("source", ["measured", "predicted"])
def test_the_front_rises_and_nothing_of_its_kind_dominates_it(found, source):
    front = (found if source == "measured" else found["predicted"])["front"]
    candidates = [candidate.to_dict() for candidate in Run(Path("run")).candidates()]
    candidates = [candidate for candidate in candidates if candidate["accuracy_source"] == source]

    assert {c["accuracy_source"] for c in front} == {source}

    assert [c["accuracy"] for c in front] == sorted({c["accuracy"] for c in front})
    for member in front:
        for other in candidates:
            better = other["accuracy"] > member["accuracy"] and other["latency_ms"] < member["latency_ms"]
            assert not better, (other["digest"], member["digest"])


def test_latencies_are_those_of_the_table(found):
    table = load_table("jetson-orin")
    for candidate in found["front"]:
        architecture = architecture_from_dict(candidate["architecture"])
        assert architecture.digest == candidate["digest"]
        assert table.predict(architecture).ms == pytest.approx(candidate["latency_ms"], rel=1e-3)


def test_the_same_seed_gives_the_same_search_and_a_resumed_one_keeps_what_was_found(supersam, found):
    arguments = [*SEARCH, "--json"]
    again = json.loads(supersam(*arguments, "--trials", "80", "--out", "again").out)
    assert {**again, "run": ""} == {**found, "run": ""}

    more = json.loads(supersam(*arguments, "--trials", "90", "--out", "run", "--resume").out)
    assert more["n_trials"] == 90
    assert more["best"]["accuracy"] >= found["best"]["accuracy"]


def test_median_risk_compares_the_median(supersam):
    answer = supersam(
        "search", "--device", "jetson-orin", "--budget", "2ms", "--trials", "40", "--risk", "median", "--json"
    )
    best = json.loads(answer.out)["best"]
    assert best["latency_ms"] <= 2.0


def test_an_extracted_best_is_the_supernets_subnet_and_loads_into_plain_modules(supersam, found):
    answer = supersam("extract", "run", "best", "-o", "best.safetensors", "--json")

    assert answer.code == 0, answer.err
    extracted = json.loads(answer.out)
    assert extracted.keys() >= {"path", "sha256", "digest", "params_m", "max_abs_diff"}
    assert extracted["digest"] == found["best"]["digest"]
    assert extracted["max_abs_diff"] == 0
    model, architecture, record = load_subnet(Path("best.safetensors"))
    assert architecture.digest == found["best"]["digest"]
    assert record["provenance"]["found"]["accuracy"] == found["best"]["accuracy"]
    modules = {type(module).__module__ for module in model.modules()}
    assert "supersam.supernet.supernet" not in modules


def test_the_readmes_ten_lines_run_on_the_extracted_file(supersam, found):
    supersam("extract", "run", "best", "-o", "best.safetensors")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)).save("photo.jpg")
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    Path("use.py").write_text(code[1])

    done = subprocess.run([sys.executable, "use.py"], capture_output=True, text=True, check=False, env=os.environ)

    assert done.returncode == 0, done.stderr
    assert Path("mask.png").is_file()
    assert len(code[1].strip().splitlines()) <= 12


def test_an_extracted_file_and_a_starter_subnet_are_evaluated_beside_trivial_answers(supersam, found, shapes):
    supersam("extract", "run", "best", "-o", "best.safetensors")

    answer = supersam("evaluate", "best.safetensors", "--data", shapes, "--prompts", "point1,point3,box", "--json")

    report = json.loads(answer.out)
    assert report["digest"] == found["best"]["digest"]
    assert report["n_images"] == 3
    for prompt in ("point1", "point3", "box"):
        cell = report["packs"]["shapes"][prompt]
        assert 0 <= cell["ci95"][0] <= cell["miou"] <= cell["ci95"][1] <= 1
        assert cell["n_masks"] > 3
        assert cell["trivial"].keys() == {"box_fill", "ellipse"}
    digest = found["best"]["digest"]
    starter = supersam("evaluate", "starter", "--arch", digest, "--data", shapes, "--limit", 1, "--json")
    assert json.loads(starter.out)["digest"] == digest


def test_empty_masks_are_told_by_an_evaluation(supersam, shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "data")
    file = tmp_path / "data" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    image = min(content["images"], key=lambda image: image["file_name"])
    size = [image["height"], image["width"]]
    content["annotations"].append(
        {"image_id": image["id"], "segmentation": {"size": size, "counts": [size[0] * size[1]]}}
    )
    file.write_text(json.dumps(content))

    answer = supersam(
        "evaluate", "starter", "--arch", "smallest", "--data", tmp_path / "data", "--prompts", "box", "--limit", 1
    )

    assert "1 empty masks of data were left out" in answer.err
