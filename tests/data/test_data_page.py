"""What docs/data.md says of keys and formats is so."""

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from supersam.data.augment import Augmentation
from supersam.data.sources import DataSource, open_packs

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def block(language: str, after: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE[PAGE.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def test_configuration_is_read() -> None:
    sources = [DataSource.model_validate(entry) for entry in yaml.safe_load(block("yaml", "## In a"))["data"]]

    assert [source.format for source in sources] == ["auto", "lvis", "auto"]
    assert sources[2].shuffle_buffer == 512


@pytest.mark.parametrize(("model", "heading"), [(DataSource, "## In a"), (Augmentation, "## Augmentation")])
def test_every_key_is_in_its_table(model: type[DataSource] | type[Augmentation], heading: str) -> None:
    section = PAGE[PAGE.index(heading) :].split("\n## ")[0]
    table = "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))

    assert set(re.findall(r"`(\w+)`", table)) == set(model.model_fields)


def test_examples_are_read(tmp_path: Path) -> None:
    coco, pair = (json.loads(block("json", heading)) for heading in ("### COCO", "### SA-1B"))
    for child in ("images", "annotations"):
        (tmp_path / "street" / child).mkdir(parents=True)
    (tmp_path / "street" / "annotations" / "instances_train.json").write_text(json.dumps(coco))
    (tmp_path / "sa_000020").mkdir()
    (tmp_path / "sa_000020" / "sa_223750.json").write_text(json.dumps(pair))
    Image.new("RGB", (9, 9)).save(tmp_path / "sa_000020" / "sa_223750.jpg")

    shards, street = open_packs(tmp_path, "train")

    assert street.records[0].mask(0).sum() == 900
    assert street.licences == {"CC BY 2.0": 1}
    assert (shards.records[0].width, shards.records[0].annotations[0].area) == (2250, 1200)
