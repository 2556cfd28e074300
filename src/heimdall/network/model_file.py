"""A trained network of either kind as two files: weights in safetensors, and what they are in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError
from heimdall.network import fusion_net, localization_net
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet

Network = LocalizationNet | FusionNet

PRETRAINED_HASH = "pretrained_weights_sha256"  # in the record of a model that started from other weights


def is_of_fusion(config: dict[str, Any]) -> bool:
    """Whether a configuration is that of a FusionNet; else it is that of a LocalizationNet."""
    return "radio" in config


def from_config(config: dict[str, Any]) -> Network:
    """Build the network that its `config` describes, its weights still to be loaded."""
    return fusion_net.from_config(config) if is_of_fusion(config) else localization_net.from_config(config)


def save(network: Network, weights: Path, config: Path, record: dict[str, Any]) -> None:
    """Write the weights and, beside them, what is needed to rebuild and to identify the network.

    Args:
        network: The network, with its configuration in `config`.
        weights: The safetensors file, without metadata, so that its bytes depend on the weights alone.
        config: The JSON file: `record`, the network's configuration and the SHA-256 of the weights.
        record: What identifies the making: data fingerprint, parameters, hashes of the modules.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    content = save_tensors(tensors)
    artifacts.write_bytes(weights, content)
    identity = {"weights_sha256": artifacts.sha256_bytes(content), "network": network.config}
    artifacts.write_json(config, identity | record)


def load(weights: Path, config: Path) -> tuple[Network, dict[str, Any]]:
    """Read what `save` wrote.

    Args:
        weights: The safetensors file.
        config: The JSON file beside it.

    Returns:
        The network in evaluation mode on the CPU, and the record.

    Raises:
        HeimdallError: A file is missing or damaged, or the two do not belong together.
    """
    stored = artifacts.read_json(config)
    try:
        digest, described = stored.pop("weights_sha256"), stored.pop("network")
        network = from_config(described)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        cause = f"no configuration of a network of this code ({error!r})"
        raise HeimdallError(str(config), cause, remedies.RESTORE) from None
    try:
        content = weights.read_bytes()
    except OSError as error:
        raise remedies.of_output(weights, error, "the weights cannot be read") from None
    if artifacts.sha256_bytes(content) != digest:
        raise HeimdallError(str(weights), f"not the weights that {config} belongs to", remedies.RESTORE)
    try:
        network.load_state_dict(load_tensors(content))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise remedies.of_output(weights, error, "not the weights of this network") from None
    return network.eval(), stored
