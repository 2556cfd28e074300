"""Attention over receivers: what is not there is not seen."""

from __future__ import annotations

import torch

from heimdall.network.attention import WIDTH, Attention


def test_half_precision_takes_sessions_that_are_filled_up() -> None:
    layer = Attention(0.0).eval()
    there = torch.tensor([[True, True, False]])
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        tokens = torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(1))
        full = layer(tokens, there)[:, :2]
        alone = layer(tokens[:, :2], there[:, :2])
    assert torch.allclose(full.float(), alone.float(), atol=1e-2)
