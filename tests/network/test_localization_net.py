"""LocalizationNet: units, bounds, pinned weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.network import localization_net
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.loss import GaussianNLLLoss
from tests.network.conftest import FRAME, SCALE_M, network


def test_forward_gives_degrees_and_metres(net: LocalizationNet, features: torch.Tensor) -> None:
    with torch.no_grad():
        out, local = net(features), net.forward_local(features)
    assert out.shape == (3, 4)
    assert out.dtype == torch.float64
    assert local.dtype == torch.float32
    latitude, longitude = FRAME.to_degrees(local[:, 0].double() * SCALE_M, local[:, 1].double() * SCALE_M)
    np.testing.assert_allclose(out[:, 0], latitude, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out[:, 1], longitude, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out[:, 2:], local[:, 2:].double() * SCALE_M, rtol=1e-12)


def test_a_new_network_answers_with_the_centre_and_one_unit(
    net: LocalizationNet, features: torch.Tensor
) -> None:
    with torch.no_grad():
        local = net.forward_local(features)
    assert local[:, :2].abs().max() < 0.2
    assert ((local[:, 2:] > 0.5) & (local[:, 2:] < 2)).all()


def test_labels_go_into_the_local_frame_and_back(net: LocalizationNet) -> None:
    degrees = torch.tensor([[45.3, 7.6], [44.9, 8.4]], dtype=torch.float64)
    local = net.to_local(degrees)
    east_m, north_m = FRAME.to_local(degrees[:, 0], degrees[:, 1])
    np.testing.assert_allclose(local.numpy() * SCALE_M, np.stack([east_m, north_m], axis=1), rtol=1e-6)
    back = net.to_degrees(torch.cat([local, torch.ones(2, 2)], dim=1))
    np.testing.assert_allclose(back[:, :2], degrees, rtol=0, atol=1e-7)  # float32 of 30 km: 2 mm


def test_positions_resolve_centimetres(net: LocalizationNet) -> None:
    step = torch.tensor([[0.5, 0.5, 1, 1], [0.5 + 0.01 / SCALE_M, 0.5, 1, 1]], dtype=torch.float32)
    longitude = net.to_degrees(step)[:, 1]
    assert longitude[0] != longitude[1]


def test_sigma_stays_between_its_bounds_and_never_loses_its_gradient(net: LocalizationNet) -> None:
    raw = torch.linspace(-30, 300, 3000, dtype=torch.float32, requires_grad=True)
    sigma_m = net._sigma(raw) * SCALE_M
    sigma_m.sum().backward()
    assert raw.grad is not None
    # One float32 rounding of 200 km is 0.02 m.
    assert 10 - 1e-3 <= float(sigma_m.detach().min()) < 10.01
    assert 190_000 < float(sigma_m.detach().max()) <= 200_000.02
    assert (raw.grad > 0).all()
    # An error of one unit at the smallest sigma still moves it.
    low = torch.tensor([-30.0], requires_grad=True)
    sigma = net._sigma(low).double()
    (torch.log1p(sigma - 1) + 0.5 / sigma**2).sum().backward()
    assert low.grad is not None
    assert float(low.grad[0]) < -1e-3


def test_normalisation_is_inside(net: LocalizationNet, features: torch.Tensor) -> None:
    shifted = network(feature_mean=[-80.0, -70.0, -60.0]).eval()
    with torch.no_grad():
        torch.testing.assert_close(net.forward_local(features), shifted.forward_local(features - 10))
        assert not torch.equal(net.forward_local(features), net.forward_local(features - 10))


def test_backbone(net: LocalizationNet) -> None:
    layers = net.get_backbone_layers()
    assert list(layers) == ["stem", "stages.0", "stages.1", "stages.2", "stages.3"]
    assert layers["stem"] is net.backbone.stem
    assert layers["stages.3"] is net.backbone.stages[3]
    assert localization_net.BACKBONES["medium"] == localization_net.BACKBONES["base"] == "convnext_base"
    assert isinstance(net.backbone.stages[0].blocks[0].mlp.fc1, torch.nn.Conv2d)


def test_a_frozen_backbone_is_not_trained() -> None:
    frozen = network(freeze_backbone=True)
    assert not any(value.requires_grad for value in frozen.backbone.parameters())
    assert all(value.requires_grad for value in frozen.position_head.parameters())
    assert all(value.requires_grad for value in frozen.uncertainty_head.parameters())


def test_what_no_network_can_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no bounds of sigma"):
        network(uncertainty_min=10.0, uncertainty_max=10.0)
    with pytest.raises(ValueError, match="no backbone 'huge': choose one of atto"):
        network(backbone_size="huge")
    with pytest.raises(ValueError, match=r"scale_m 30000\.0 needs a frame"):
        network(frame=None)


def test_features_of_another_shape_are_refused(net: LocalizationNet) -> None:
    with pytest.raises(
        ValueError, match=r"shape \(batch, 3, n_mels, frames\), not torch.Size\(\[1, 1, 128, 32\]\)"
    ):
        net(torch.zeros(1, 1, 128, 32))


def test_without_a_frame_the_answer_is_in_the_unit_of_the_labels() -> None:
    torch.manual_seed(0)
    plain = LocalizationNet(pretrained=False, backbone_size="atto")
    features, labels = torch.randn(4, 3, 128, 32), torch.rand(4, 2) * 2 - 1
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        found = plain(features)
        assert found.shape == (4, 4)
        assert ((found[:, 2:] >= 0.01) & (found[:, 2:] <= 1.0)).all()
        loss = GaussianNLLLoss()(found, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    again = localization_net.from_config(plain.config)
    again.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(features), plain.eval()(features))


def test_gradient_checkpointing_changes_no_gradient(features: torch.Tensor) -> None:
    gradients = []
    for enable in (False, True):
        net = network(dropout_rate=0.0).train()
        if enable:
            net.gradient_checkpointing_enable()
            assert all(stage.grad_checkpointing for stage in net.backbone.stages)
        net(features).sum().backward()
        gradients.append([value.grad for value in net.parameters() if value.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 100
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_pretrained_weights_are_pinned(
    net: LocalizationNet, features: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = localization_net.pretrained_file("atto")
    with pytest.raises(HeimdallError, match="no SHA-256 pins them"):
        network(pretrained=True)
    path.parent.mkdir(parents=True)
    pin = path.with_name("convnext_atto.safetensors.sha256")
    pin.write_text("0" * 64 + "  convnext_atto.safetensors\n")
    with pytest.raises(HeimdallError, match="missing"):
        network(pretrained=True)
    # As the authors of the larger backbones publish them: MLPs as matrices, and a classifier.
    stored = {
        name: value.flatten(1) if ".mlp." in name and value.ndim == 4 else value
        for name, value in net.backbone.state_dict().items()
    }
    save_file(
        {name: value.clone() for name, value in stored.items()} | {"head.fc.bias": torch.zeros(1000)}, path
    )
    with pytest.raises(HeimdallError, match="not the pinned one"):
        network(pretrained=True)
    pin.write_text(artifacts.sha256_file(path))
    torch.manual_seed(99)
    started = network(pretrained=True).eval()
    with torch.no_grad():
        normalised = (features - net.feature_mean) / net.feature_std
        assert torch.equal(started.backbone(normalised), net.backbone(normalised))
    save_file({"other": torch.zeros(1)}, path)
    pin.write_text(artifacts.sha256_file(path))
    with pytest.raises(HeimdallError, match="not the weights of convnext_atto"):
        network(pretrained=True)
