"""A network as two files: what is saved is read, files that do not belong together are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.network import model_file
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet
from tests.fusion_world import untrained, world
from tests.network.conftest import network
from tests.network.test_fusion_net import answer, assert_close


def test_saved_network_is_the_same_network(
    net: LocalizationNet, features: torch.Tensor, tmp_path: Path
) -> None:
    weights, config = tmp_path / "a" / "m.safetensors", tmp_path / "a" / "m.json"
    record = {"data_fingerprint": "abc", "params": {"lr": 1e-05}}
    model_file.save(net, weights, config, record)
    loaded, read = model_file.load(weights, config)
    assert read == record
    assert loaded.config == net.config
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(features), net(features))
    model_file.save(loaded, tmp_path / "b.safetensors", tmp_path / "b.json", read)
    assert (tmp_path / "b.safetensors").read_bytes() == weights.read_bytes()
    assert (tmp_path / "b.json").read_bytes() == config.read_bytes()


def test_files_that_do_not_belong_together(net: LocalizationNet, tmp_path: Path) -> None:
    weights, config = tmp_path / "m.safetensors", tmp_path / "m.json"
    with pytest.raises(HeimdallError, match=r"m\.json: the file is missing"):
        model_file.load(weights, config)
    model_file.save(net, weights, config, {})
    good = json.loads(config.read_text())

    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(HeimdallError, match=r"m\.safetensors: not the weights that"):
        model_file.load(weights, config)
    weights.unlink()
    with pytest.raises(HeimdallError, match=r"m\.safetensors: the file is missing"):
        model_file.load(weights, config)
    config.write_text(json.dumps({"network": {}}))
    with pytest.raises(HeimdallError, match="no configuration of a network"):
        model_file.load(weights, config)

    # The right digest of another network's weights.
    model_file.save(network(backbone_size="femto"), weights, config, {})
    digest = artifacts.sha256_file(weights)
    config.write_text(json.dumps(good | {"weights_sha256": digest}))
    with pytest.raises(HeimdallError, match=r"m\.safetensors: not the weights of this network"):
        model_file.load(weights, config)


def test_either_kind_of_network_is_read(tmp_path: Path) -> None:
    fusion = untrained()
    fusion.temperature.fill_(1.25)
    model_file.save(fusion, tmp_path / "a.safetensors", tmp_path / "a.json", {"data": "simulated"})
    loaded, record = model_file.load(tmp_path / "a.safetensors", tmp_path / "a.json")
    assert isinstance(loaded, FusionNet)
    assert record == {"data": "simulated"}
    assert_close(answer(fusion, world().tokens), answer(loaded, world().tokens))
    model_file.save(network(), tmp_path / "b.safetensors", tmp_path / "b.json", {})
    assert isinstance(model_file.load(tmp_path / "b.safetensors", tmp_path / "b.json")[0], LocalizationNet)
