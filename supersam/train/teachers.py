"""Teachers: frozen encoders to distil from, each known by a file.

- ``sam_vit_b_01ec64.pth`` and the like: the original SAM (https://arxiv.org/abs/2304.02643), its size read from the
  tensors;
- ``*.safetensors`` of a training, or ``starter``: a subnet of the supernet, the largest or the largest of a block type;
- ``*.safetensors`` of ``supersam extract``: that subnet;
- ``*.onnx``: any encoder, normalised image (B, 3, R, R) -> (B, 256, R/16, R/16); without a decoder.

Any other network is a ``Teacher`` around its module.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from supersam._paths import starter_dir
from supersam.checkpoints.files import file_sha256, load_checkpoint
from supersam.checkpoints.official import build_official_encoder, load_decoder, read_official
from supersam.checkpoints.starter import WEIGHTS, starter_statistics
from supersam.checkpoints.subnets import extract_subnet, load_subnet
from supersam.checkpoints.supernets import load_supernet
from supersam.data.records import Pack
from supersam.errors import CheckpointError, EnvironmentProblem, MissingError, UsageError, suggest
from supersam.evaluate.evaluator import calibration_batches
from supersam.evaluate.recalibrate import recalibrate
from supersam.sam.model import FRAME, Sam
from supersam.space import BLOCK_TYPES, AnyArchitecture, SearchSpace, ViTArchitecture
from supersam.space.ops import EMBEDDING
from supersam.supernet.encoder import StageOutputs

STARTER = "starter"
LARGEST = "largest"
CALIBRATION_IMAGES = 64


class Teacher(nn.Module):
    """A frozen encoder, and the prompt encoder and mask decoder that read it.

    It stays in evaluation mode and gives no gradient.

    Args:
        name: for people.
        encoder: normalised image (B, 3, R, R) -> embedding (B, 256, R/16, R/16).
        resolution: R at which the encoder is best, in pixels.
        fingerprint: of everything that decides the embeddings; default: of the encoder's weights.
        decoder: its prompt encoder and mask decoder are the teacher's; None if there are none.
        architecture: of an encoder built by SuperSAM; without it there are no outputs of stages.
    """

    def __init__(
        self,
        name: str,
        encoder: nn.Module,
        resolution: int,
        fingerprint: str | None = None,
        decoder: Sam | None = None,
        architecture: AnyArchitecture | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.encoder = encoder
        self.resolution = resolution
        self.fingerprint = fingerprint or _hash(resolution, *_content(encoder))
        self.decoder = decoder
        self.architecture = architecture
        self.stages = StageOutputs(encoder, architecture) if architecture else None
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever holds it."""
        return super().train(False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an embedding, (256, R/16, R/16)."""
        return EMBEDDING, self.resolution // 16, self.resolution // 16

    @property
    def stage_widths(self) -> list[int]:
        """The channels of the outputs of the four stages.

        Raises:
            UsageError: if nothing is known of the encoder's stages.
        """
        if self.architecture is None:
            raise UsageError(f"teacher {self.name} gives no outputs of stages; remove `stages` from the distillation")
        if isinstance(self.architecture, ViTArchitecture):
            return [self.architecture.width] * 4
        return [stage.width for stage in self.architecture.stages]

    def drop_encoder(self) -> None:
        """Give its memory back, where all embeddings are cached."""
        self.encoder, self.stages = nn.Identity(), None
        if self.decoder is not None:
            self.decoder.image_encoder = nn.Identity()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the image embedding.

        Raises:
            CheckpointError: if the encoder's output is not one that SAM's decoder reads.
        """
        embedding: Tensor = self.encoder(x)
        expected = (len(x), EMBEDDING, x.shape[-2] // 16, x.shape[-1] // 16)
        if embedding.shape != expected:
            raise CheckpointError(
                f"teacher {self.name} turns {tuple(x.shape)} into {tuple(embedding.shape)}; "
                f"SAM's decoder reads {expected}, so it cannot be distilled from"
            )
        return embedding

    @torch.no_grad()
    def features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the embedding and the outputs of the four stages, of an encoder that has ``stage_widths``."""
        assert self.stages is not None
        outputs: tuple[Tensor, list[Tensor]] = self.stages(x)
        return outputs


def load_teacher(name: str, subnet: str = LARGEST, calibration: Sequence[Pack] = ()) -> Teacher:
    """Load the teacher in a file.

    Args:
        name: path of the file, or ``starter``.
        subnet: of a supernet: ``largest``, or a block type for the largest encoder of that type.
        calibration: images for the BatchNorm statistics of a supernet's subnet, which no supernet can hold.

    Raises:
        UsageError: if the kind of file or the subnet is unknown.
        MissingError: if there is no such file, or images for BatchNorm are needed.
        CheckpointError: if the file is damaged or holds no teacher.
    """
    path = starter_dir() / WEIGHTS if name == STARTER else Path(name)
    if not path.is_file():
        raise MissingError(f"there is no teacher {path}; give a SAM checkpoint (.pth), .safetensors or .onnx file")
    if path.suffix in (".pth", ".pt"):
        return _official(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path} is no teacher: .pth (original SAM), .safetensors (SuperSAM) and .onnx are read")
    if load_checkpoint(path).kind == "subnet":
        return _subnet(path)
    return _from_supernet(path, subnet, calibration)


def largest_of(space: SearchSpace, subnet: str) -> AnyArchitecture:
    """Return the architecture with the most MACs, or that of a block type in every stage that allows it.

    Raises:
        UsageError: if ``subnet`` is neither ``largest`` nor a block type of the space.
    """
    largest = space.largest()
    if subnet == LARGEST:
        return largest
    of_type = {name: subnet for name, allowed in space.variables().items() if subnet in allowed}
    if not of_type:
        known = [LARGEST, *(b for b in BLOCK_TYPES if any(b in allowed for allowed in space.variables().values()))]
        raise UsageError(
            f"no subnet {subnet!r} of {space.name} can teach (there: {', '.join(known)})." + suggest(subnet, known)
        )
    return space.decode(space.encode(largest) | of_type)


def _official(path: Path) -> Teacher:
    official = read_official(path)
    decoder = None
    if official.decoder:
        decoder = Sam(nn.Identity())
        load_decoder(decoder, official)
    architecture = official.architecture
    fingerprint = _hash("sam", file_sha256(path), architecture.resolution)
    name = f"{path.name} ({official.describe()})"
    encoder = build_official_encoder(official)
    return Teacher(name, encoder, architecture.resolution, fingerprint, decoder, architecture)


def _subnet(path: Path) -> Teacher:
    sam, architecture, _ = load_subnet(path)
    fingerprint = _hash("subnet", file_sha256(path), architecture.digest)
    name = f"{path.name} ({architecture.digest})"
    return Teacher(name, sam.image_encoder, architecture.resolution, fingerprint, sam, architecture)


def _from_supernet(path: Path, subnet: str, calibration: Sequence[Pack]) -> Teacher:
    model, _ = load_supernet(path)
    assert not isinstance(model.image_encoder, Tensor)
    architecture = largest_of(model.image_encoder.space, subnet)  # type: ignore[arg-type]
    shipped = starter_statistics(architecture) if path == starter_dir() / WEIGHTS else {}
    sam = extract_subnet(model, architecture, shipped)
    images: list[str] = []
    if not shipped and any(isinstance(module, nn.BatchNorm2d) for module in sam.modules()):
        if not calibration:
            raise MissingError(f"subnet {architecture.digest} of {path} has BatchNorm, whose statistics need images")
        packs = list(calibration)
        recalibrate(sam.image_encoder, calibration_batches(packs, architecture.resolution, CALIBRATION_IMAGES))
        images = [f"{pack.name}:{len(pack)}" for pack in packs]
    fingerprint = _hash("supernet", file_sha256(path), architecture.digest, *images)
    name = f"{path.name} ({subnet}, {architecture.digest})"
    return Teacher(name, sam.image_encoder, architecture.resolution, fingerprint, sam, architecture)


def _onnx(path: Path) -> Teacher:
    encoder = OnnxEncoder(path)
    return Teacher(path.name, encoder, encoder.resolution, _hash("onnx", file_sha256(path), encoder.resolution))


class OnnxEncoder(nn.Module):
    """An encoder in an ONNX file, run by ONNX Runtime image by image.

    Shape:
        - Input: (B, 3, R, R); R is the file's, or 1024 if it takes any
        - Output: that of the file for each image
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime  # noqa: F401 - told here, not in the first step
        except ModuleNotFoundError as problem:
            raise EnvironmentProblem('a teacher in ONNX needs onnxruntime: pip install "supersam[export]"') from problem
        self._path = path
        self.place: Tensor
        self.register_buffer("place", torch.empty(0), persistent=False)  # where it was moved to
        self._opened_on = self.place.device
        try:
            self._session = self._open()
        except Exception as problem:  # the errors of onnxruntime have no public base
            raise CheckpointError(f"{path} is not a sound ONNX file ({str(problem).splitlines()[0]})") from problem
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise CheckpointError(f"{path} does not take one image (B, 3, R, R), so it is no image encoder")
        side = inputs[0].shape[-1]
        self.resolution = side if isinstance(side, int) else FRAME

    def forward(self, x: Tensor) -> Tensor:
        if self.place.device != self._opened_on:
            self._session = self._open()
        name = self._session.get_inputs()[0].name
        outputs = [self._session.run(None, {name: image[None].float().cpu().numpy()})[0] for image in x]
        return torch.cat([torch.from_numpy(output) for output in outputs]).to(x)

    def _open(self) -> Any:
        """Open the file on the device that this module was moved to, with as many threads as PyTorch has."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        device = self._opened_on = self.place.device
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        return ort.InferenceSession(self._path, options, providers=providers)


def _content(module: nn.Module) -> list[Any]:
    """Return the names and bytes of the weights of a module."""
    return [
        item
        for name, tensor in sorted(module.state_dict().items())
        for item in (name, tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    ]


def _hash(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else f"{part}\n".encode())
    return digest.hexdigest()
