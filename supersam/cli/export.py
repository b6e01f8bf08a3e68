"""``supersam export``: an extracted subnet as ONNX files."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supersam.cli._output import print_json, say

if TYPE_CHECKING:
    from supersam.space import AnyArchitecture


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A subnet, written by `supersam extract`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for encoder.onnx and decoder.onnx.")],
    opset: Annotated[
        int | None,
        typer.Option(min=17, help="Version of the operators; TensorRT 8.5 and 8.6 need 17. Default: the exporter's."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write encoder and mask decoder as ONNX, for TensorRT, ONNX Runtime or OpenVINO (docs/deployment.md).

    Both are run once by ONNX Runtime; where one answers otherwise than PyTorch it is not written.
    """
    from supersam.checkpoints.subnets import load_subnet
    from supersam.errors import EnvironmentProblem, UsageError
    from supersam.export.graph import check_exporter
    from supersam.export.sam import export_decoder, export_encoder

    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; give a folder for encoder.onnx and decoder.onnx")
    if find_spec("onnxruntime") is None:
        raise EnvironmentProblem(
            'an export is compared by ONNX Runtime, which is not installed: pip install "supersam[export]"'
        )
    check_exporter()
    sam, architecture, record = load_subnet(checkpoint)
    made, notes = {}, _notes(record, architecture)
    for name, make in (("encoder", export_encoder), ("decoder", export_decoder)):
        say(f"exporting the {name} ...")
        part = make(sam, architecture.resolution, notes, opset)
        made[name] = (part.content, part.compare())  # both, before either takes the place of an earlier pair's
    written = {name: _write(output / f"{name}.onnx", *part) for name, part in made.items()}
    if json:
        print_json({"digest": architecture.digest, "resolution": architecture.resolution, **written})
        return
    for found in written.values():
        print(f"{found['path']}  {found['bytes'] / 1e6:.1f} MB  sha256 {found['sha256']}")
        say(f"largest difference to PyTorch: {found['max_rel_diff']:.1g} of the largest value")


def _write(path: Path, content: bytes, difference: float) -> dict[str, Any]:
    """Write a part and return what there is to tell about it."""
    import hashlib

    from supersam._paths import write_atomically

    write_atomically(path, content)
    return {
        "path": str(path),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "max_rel_diff": difference,
    }


def _notes(record: dict[str, Any], architecture: "AnyArchitecture") -> dict[str, str]:
    """Return what a file's metadata says: where it came from and how an image is prepared."""
    from supersam.data.transforms import PIXEL_MEAN, PIXEL_STD

    provenance = record.get("provenance", {})
    found = {
        "digest": architecture.digest,
        "resolution": architecture.resolution,
        "pixel_mean": " ".join(f"{value:g}" for value in PIXEL_MEAN.flatten().tolist()),
        "pixel_std": " ".join(f"{value:g}" for value in PIXEL_STD.flatten().tolist()),
        "licence": provenance.get("licence", "not stated"),
        "trained_on": "; ".join(provenance.get("trained_on", [])) or "not stated",
    }
    return {f"supersam.{key}": str(value) for key, value in found.items()}
