"""What the devices page shows for one set of choices."""

from collections.abc import Mapping
from dataclasses import dataclass

from supersam.errors import suggest
from supersam.space import SearchSpace, StagedSpace

from .data import Data
from .devices import Device

KEYS = ("name", "space", "resolution", "ratio")  # of the URL
USUAL_SPACE = "starter"


@dataclass(frozen=True)
class DevicesView:
    """All devices, and one of them whole."""

    devices: list[Device]
    chosen: Device | None
    spaces: list[SearchSpace]
    space: SearchSpace
    resolution: int
    ratio: int | None  # None: a plain ViT has none
    query: dict[str, str]
    notices: list[str]

    @property
    def ratios(self) -> list[int]:
        """Every ratio of the space."""
        if not isinstance(self.space, StagedSpace):
            return []
        return sorted({ratio for stage in self.space.stages for ratio in stage.ratios})


def look_at_devices(data: Data, chosen: Mapping[str, str]) -> DevicesView:
    """Return what to show; unknown values are said in a notice and fall back to the default."""
    notices: list[str] = []
    devices = data.tables()
    spaces = data.spaces()
    names = {a: device for device in devices for a in device.aliases} | {device.key: device for device in devices}
    usual = min(devices, key=lambda one: (one.table is None, one.distrust), default=None)
    device = names.get(_known("device", chosen.get("name"), list(names), notices)) or usual
    by_name = {space.name: space for space in spaces}
    space = by_name[_known("space", chosen.get("space"), list(by_name), notices) or USUAL_SPACE]
    resolution = _known("resolution", chosen.get("resolution"), [str(side) for side in space.resolutions], notices)
    ratios = (
        sorted({ratio for stage in space.stages for ratio in stage.ratios}) if isinstance(space, StagedSpace) else []
    )
    ratio = _known("ratio", chosen.get("ratio"), [str(ratio) for ratio in ratios], notices)
    shown = {"name": device.key if device else "", "space": space.name, "resolution": resolution, "ratio": ratio}
    return DevicesView(
        devices=devices,
        chosen=device,
        spaces=spaces,
        space=space,
        resolution=int(resolution or space.resolutions[-1]),
        ratio=int(ratio) if ratio else (ratios[-1] if ratios else None),
        query={key: value for key, value in shown.items() if value},
        notices=notices,
    )


def _known(key: str, value: str | None, known: list[str], notices: list[str]) -> str:
    if value is None or value in known:
        return value or ""
    notices.append(f"There is no {key} {value!r} here.{suggest(value, known)}")
    return ""
