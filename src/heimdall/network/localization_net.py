"""LocalizationNet: the log-mel of one recording to a position and its uncertainty.

The network works in a local frame, in units of `scale_m` east and north of the receivers' mean
position; degrees appear in its last step alone, in float64 (float32 degrees resolve only 0.4 m).
Everything that turns raw features into degrees is inside it, so what is exported needs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_tensors
from torch import nn
from torch.nn import functional

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import LocalFrame

# "medium" is the specification's name of what timm and its authors call "base".
BACKBONES = {
    "atto": "convnext_atto",
    "femto": "convnext_femto",
    "pico": "convnext_pico",
    "nano": "convnext_nano",
    "tiny": "convnext_tiny",
    "small": "convnext_small",
    "medium": "convnext_base",
    "base": "convnext_base",
    "large": "convnext_large",
}

INFERENCE_BATCH = 64  # items at a time, fixed: kernels are chosen by shape, so it is part of the result
PRETRAINED_DIR = Path("models/pretrained")
HIDDEN = (128, 64)
# Small enough that the first prediction is the network's centre with a sigma of about one unit.
LAST_LAYER_STD = 0.01
# softplus(0.55) is about 1.
FIRST_SIGMA_RAW = 0.55


def pretrained_file(backbone_size: str) -> Path:
    """Where the ImageNet weights of a backbone are expected."""
    return PRETRAINED_DIR / f"{BACKBONES[backbone_size]}.safetensors"


def pretrained_sha256(backbone_size: str) -> str:
    """The pinned SHA-256 of a backbone's weights: the first word of the file beside them, `.sha256` added.

    Args:
        backbone_size: A key of `BACKBONES`.

    Returns:
        64 hexadecimal digits.

    Raises:
        HeimdallError: There is no such file, or it holds no SHA-256.
    """
    weights = pretrained_file(backbone_size)
    pin = weights.with_name(weights.name + ".sha256")
    try:
        digest = pin.read_text(encoding="utf-8").split()[0]
    except (FileNotFoundError, IndexError):
        digest = ""
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise HeimdallError(
            str(pin),
            "pretrained weights are asked for, and no SHA-256 pins them",
            f"Fetch model.safetensors of a timm {weights.stem} as {weights}, `dvc add` it and commit "
            f"`sha256sum {weights} > {pin}`; or do without: pretrained=False, model.pretrained: false",
        )
    return digest


def _load_pretrained(backbone: nn.Module, backbone_size: str) -> None:
    """Put pinned ImageNet weights into the backbone; its classifier is not wanted."""
    path, digest = pretrained_file(backbone_size), pretrained_sha256(backbone_size)
    if not path.is_file():
        raise HeimdallError(
            str(path),
            "the pretrained weights are missing",
            "Run `dvc pull`; or do without: pretrained=False, model.pretrained: false",
        )
    content = path.read_bytes()
    if artifacts.sha256_bytes(content) != digest:
        raise HeimdallError(
            str(path),
            "its SHA-256 is not the pinned one",
            "Restore it with `dvc pull --force`; or do without: pretrained=False, model.pretrained: false",
        )
    wanted = backbone.state_dict()
    try:
        stored = load_tensors(content)
        # The larger backbones were trained with linear layers in the MLPs, ours are 1x1 convolutions.
        backbone.load_state_dict({name: stored[name].reshape(value.shape) for name, value in wanted.items()})
    except (safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise HeimdallError(
            str(path),
            f"not the weights of {BACKBONES[backbone_size]} ({error})",
            f"Fetch model.safetensors of a timm {BACKBONES[backbone_size]} as this file, and pin its SHA-256",
        ) from None


def _head(inputs: int, dropout_rate: float, last_bias: float) -> nn.Sequential:
    """Layers `inputs` -> 128 -> 64 -> 2, whose output starts near `last_bias`."""
    last = nn.Linear(HIDDEN[1], 2)
    nn.init.normal_(last.weight, std=LAST_LAYER_STD)
    nn.init.constant_(last.bias, last_bias)
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN[0]),
        nn.ReLU(),
        nn.Dropout(dropout_rate),
        nn.Linear(HIDDEN[0], HIDDEN[1]),
        nn.ReLU(),
        nn.Dropout(dropout_rate),
        last,
    )


class LocalizationNet(nn.Module):
    """ConvNeXt with a head for the position and one for its standard deviations.

    With a local frame the answer is in degrees and metres, and so are the bounds of sigma. Without one the
    network knows no place: its answer, and sigma with its bounds, are in the unit of the labels that it is
    trained with, such as coordinates that were normalised to [-1, 1].

    Args:
        pretrained: Start from the pinned ImageNet weights in models/pretrained/.
        freeze_backbone: Train the heads only.
        uncertainty_min: Lower bound of sigma: metres, or without a frame in the unit of the labels.
        uncertainty_max: Upper bound of sigma, in the same unit.
        backbone_size: A key of `BACKBONES`.
        dropout_rate: Dropout in the heads, in [0, 1).
        frame: Local frame of the positions; None for none.
        scale_m: Metres in one local unit; 1 without a frame.
        feature_mean: (3,) mean of each channel over the training recordings, dB; 0 of normalised features.
        feature_std: (3,) standard deviation of each channel, dB; 1 of normalised features.

    Raises:
        HeimdallError: The pretrained weights are asked for and missing or not the pinned ones.
        ValueError: There is no such backbone, or the bounds of sigma are none.
    """

    backbone: Any  # timm gives its models no types
    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    origin_deg: torch.Tensor
    degrees_per_unit: torch.Tensor

    def __init__(
        self,
        pretrained: bool = True,
        freeze_backbone: bool = False,
        uncertainty_min: float = 0.01,
        uncertainty_max: float = 1.0,
        backbone_size: str = "large",
        *,
        dropout_rate: float = 0.2,
        frame: LocalFrame | None = None,
        scale_m: float = 1.0,
        feature_mean: Sequence[float] = (0.0, 0.0, 0.0),
        feature_std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        if not 0 < uncertainty_min < uncertainty_max:
            raise ValueError(f"no bounds of sigma: {uncertainty_min} to {uncertainty_max}")
        if backbone_size not in BACKBONES:
            raise ValueError(f"no backbone {backbone_size!r}: choose one of {', '.join(BACKBONES)}")
        if frame is None and scale_m != 1.0:
            raise ValueError(f"scale_m {scale_m} needs a frame")
        self.config: dict[str, Any] = {
            "pretrained": pretrained,
            "freeze_backbone": freeze_backbone,
            "uncertainty_min": uncertainty_min,
            "uncertainty_max": uncertainty_max,
            "backbone_size": backbone_size,
            "dropout_rate": dropout_rate,
            "latitude_deg": None if frame is None else frame.latitude_deg,
            "longitude_deg": None if frame is None else frame.longitude_deg,
            "scale_m": scale_m,
            "feature_mean": [float(value) for value in feature_mean],
            "feature_std": [float(value) for value in feature_std],
        }
        # conv_mlp everywhere: faster on a CPU, and part of what makes the bytes of a training repeat.
        import timm  # noqa: PLC0415 - it costs two seconds, and fusion needs none of it

        self.backbone = timm.create_model(
            BACKBONES[backbone_size], pretrained=False, num_classes=0, conv_mlp=True
        )
        if pretrained:
            _load_pretrained(self.backbone, backbone_size)
        width: int = self.backbone.num_features
        self.position_head = _head(width, dropout_rate, last_bias=0.0)
        self.uncertainty_head = _head(width, dropout_rate, last_bias=FIRST_SIGMA_RAW)
        self.backbone.requires_grad_(not freeze_backbone)

        self.frame, self.scale_m = frame, scale_m
        self.sigma_min, self.sigma_max = uncertainty_min / scale_m, uncertainty_max / scale_m
        north_m, east_m = (1.0, 1.0) if frame is None else frame.metres_per_degree
        origin_deg = [0.0, 0.0] if frame is None else [frame.latitude_deg, frame.longitude_deg]
        float64 = torch.float64
        self.register_buffer("feature_mean", torch.tensor(self.config["feature_mean"]).view(3, 1, 1))
        self.register_buffer("feature_std", torch.tensor(self.config["feature_std"]).view(3, 1, 1))
        self.register_buffer("origin_deg", torch.tensor(origin_deg, dtype=float64))
        self.register_buffer(
            "degrees_per_unit", torch.tensor([scale_m / north_m, scale_m / east_m], dtype=float64)
        )

    def get_backbone_layers(self) -> dict[str, nn.Module]:
        """The backbone's stem and its four stages by their names, from input to output."""
        stages = {f"stages.{number}": stage for number, stage in enumerate(self.backbone.stages)}
        return {"stem": self.backbone.stem, **stages}

    def gradient_checkpointing_enable(self) -> None:
        """Compute the backbone's activations again for the gradient: less memory, more time, equal values."""
        self.backbone.set_grad_checkpointing(True)

    def _sigma(self, raw: torch.Tensor) -> torch.Tensor:
        """Any real number to a sigma between the bounds, both never reached.

        s = softplus(raw) is bent to min + R s / (R + s) with R = max - min. Towards the upper bound the
        slope falls as 1 / s^2 only, so a sigma that once grew too large still feels its gradient; towards
        the lower one it falls as exp(raw), which makes equal steps of `raw` equal ratios of sigma, and the
        likelihood's own slope grows as 1 / sigma^3.
        """
        positive = functional.softplus(raw)
        spread = self.sigma_max - self.sigma_min
        return self.sigma_min + spread * positive / (spread + positive)

    def forward_local(self, features: torch.Tensor) -> torch.Tensor:
        """What the loss sees.

        Args:
            features: (batch, 3, n_mels, frames) float32, dB, not normalised.

        Returns:
            (batch, 4) float32: east, north, sigma east, sigma north, in units of `scale_m`.
        """
        normalised = (features - self.feature_mean) / self.feature_std
        pooled = self.backbone(normalised)  # (B, dim)
        position = self.position_head(pooled).float()  # (B, 2)
        sigma = self._sigma(self.uncertainty_head(pooled).float())  # (B, 2)
        return torch.cat([position, sigma], dim=1)

    def to_degrees(self, local: torch.Tensor) -> torch.Tensor:
        """Leave the local frame.

        Args:
            local: (batch, 4) as of `forward_local`.

        Returns:
            (batch, 4) float64: latitude and longitude in degrees, sigma east and north in metres. Without
            a frame what is given, in float64.
        """
        if self.frame is None:
            return local.double()
        north_east, sigma = local[:, :2].double().flip(1), local[:, 2:].double()  # (B, 2), (B, 2)
        degrees = self.origin_deg + north_east * self.degrees_per_unit
        return torch.cat([degrees, sigma * self.scale_m], dim=1)

    def to_local(self, degrees: torch.Tensor) -> torch.Tensor:
        """Enter the local frame.

        Args:
            degrees: (batch, 2) float64: latitude and longitude; labels without a frame.

        Returns:
            (batch, 2) float32: east and north in units of `scale_m`; the labels without a frame.
        """
        if self.frame is None:
            return degrees.float()
        return ((degrees - self.origin_deg) / self.degrees_per_unit).flip(1).float()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Localize.

        Args:
            features: (batch, 3, n_mels, frames) float32, dB, not normalised.

        Returns:
            (batch, 4) float64: latitude, longitude in degrees, sigma east, sigma north in metres. Without a
            frame both labels and their standard deviations, in the unit of the labels.

        Raises:
            ValueError: The features have another shape.
        """
        if features.ndim != 4 or features.shape[1] != 3:
            raise ValueError(f"features must have the shape (batch, 3, n_mels, frames), not {features.shape}")
        return self.to_degrees(self.forward_local(features))


def from_config(config: dict[str, Any]) -> LocalizationNet:
    """Build the network that `LocalizationNet.config` describes, its weights still to be loaded.

    Args:
        config: As of the attribute `config`.

    Returns:
        The network; pretrained weights are not read again.
    """
    place = config["latitude_deg"], config["longitude_deg"]
    model = LocalizationNet(
        pretrained=False,
        freeze_backbone=config["freeze_backbone"],
        uncertainty_min=config["uncertainty_min"],
        uncertainty_max=config["uncertainty_max"],
        backbone_size=config["backbone_size"],
        dropout_rate=config["dropout_rate"],
        frame=None if place == (None, None) else LocalFrame(*place),
        scale_m=config["scale_m"],
        feature_mean=config["feature_mean"],
        feature_std=config["feature_std"],
    )
    model.config = dict(config)
    return model
