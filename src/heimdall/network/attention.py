"""A transformer layer over the receivers of a session, which are a set: without positions, under a mask."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, HEADS = 48, 4


class Attention(nn.Module):
    """A pre-norm transformer layer over a set with a mask (Xiong et al. 2020, "On layer normalization").

    Args:
        dropout_rate: In [0, 1).
    """

    def __init__(self, dropout_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.join = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout_rate)
        self.mix = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
            nn.Linear(2 * WIDTH, WIDTH),
            nn.Dropout(dropout_rate),
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens (B, R, WIDTH) and which of them are there, (B, R) bool, to tokens."""
        count = tokens.shape[1]
        projected = self.project(self.norm(tokens)).reshape(-1, count, 3, HEADS, WIDTH // HEADS)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, R, D)
        score = query @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5  # (B, H, R, R)
        score = score.masked_fill(~mask[:, None, None], -1e4)  # float16 holds it, too
        seen = (torch.softmax(score, -1) @ value).transpose(1, 2).reshape(-1, count, WIDTH)
        tokens = tokens + self.dropout(self.join(seen))
        mixed: torch.Tensor = tokens + self.mix(tokens)
        return mixed
