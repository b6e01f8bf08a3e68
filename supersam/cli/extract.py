"""``supersam extract``: a subnet as a checkpoint of its own."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from supersam.cli._output import print_json, say

LARGEST_DIFFERENCE = 1e-3  # of the embeddings, whose values are about 1; by rounding it is 1e-6
LICENCE = "Apache-2.0; see MODEL_CARD.md of the weights for the data"


def extract(
    run: Annotated[str, typer.Argument(help="Folder of a search run, or `starter` for the shipped archive.")],
    digest: Annotated[str, typer.Argument(help="Digest of a subnet, or `best`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.safetensors).")],
    weights: Annotated[Path | None, typer.Option(help="Supernet weights; default: those the run used.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images (split train) for the BatchNorm statistics. Default: those of the search, or the statistics "
            "shipped with the starter."
        ),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Image for the comparison with the supernet.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a subnet as safetensors and compare it, loaded again, with the supernet's own output.

    Of files that are there already, only extracted subnets are replaced.
    """
    from supersam.checkpoints.subnets import extract_subnet, save_subnet
    from supersam.cli import _subnets
    from supersam.errors import SuperSAMError, UsageError

    if output.suffix != ".safetensors":
        raise UsageError(f"{output} must end in .safetensors")
    architecture, found = _subnets.resolve(run, digest)
    pixels, source = _subnets.picture(image, data)
    supernet = _subnets.load_supernet_of(run, weights)
    _check_replaceable(output, supernet.path)
    encoder: Any = supernet.model.image_encoder
    if not encoder.space.contains(architecture):
        raise UsageError(f"{architecture.digest} is not a subnet of {supernet.path} (space {encoder.space.name})")
    statistics, calibration = _subnets.statistics(supernet, architecture, data, _subnets.data_of(run))
    subnet = extract_subnet(supernet.model, architecture, statistics)
    provenance: dict[str, Any] = {
        "run": run,
        "found": found,
        "weights_sha256": supernet.sha256,
        "batch_norm": calibration,
        "trained_on": supernet.data,
        "licence": LICENCE if supernet.is_starter else "that of the weights it was cut from",
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".supersam-") as folder:
        written = Path(folder, output.name)
        sha256 = save_subnet(written, subnet, architecture, provenance)
        difference = _subnets.difference(supernet.model, written, architecture, statistics, pixels)
        if not difference <= LARGEST_DIFFERENCE:  # nan neither
            raise SuperSAMError(
                f"{architecture.digest} answers otherwise than the supernet {supernet.path}, by {difference:g}; "
                "nothing was written (are all weights finite?)"
            )
        written.replace(output)
    params = sum(parameter.numel() for parameter in subnet.image_encoder.parameters()) / 1e6
    if json:
        print_json(
            {
                "path": str(output),
                "sha256": sha256,
                "digest": architecture.digest,
                "params_m": round(params, 5),
                "max_abs_diff": difference,
                "batch_norm": calibration,
                "image": source,
            }
        )
        return
    print(f"{output}  {architecture.digest}  encoder {params:.3f} M parameters  sha256 {sha256}")
    say(f"largest difference to the supernet's output on {source}: {difference:g}")
    say(f"BatchNorm statistics: {calibration}")


def _check_replaceable(output: Path, supernet: Path) -> None:
    """Refuse to write over anything but an extracted subnet: a training is hours of work.

    Raises:
        UsageError: if the file is the supernet that is read, or something else that is not a subnet.
    """
    from supersam.errors import CheckpointError, UsageError
    from supersam.results.extracted import read_extracted

    if not output.exists():
        return
    if output.samefile(supernet):
        raise UsageError(f"{output} is the supernet that the subnet is cut from; choose another --output")
    try:
        read_extracted(output)
    except CheckpointError as problem:
        raise UsageError(f"{output} exists and is not an extracted subnet; choose another --output") from problem
