"""Monitoring as a figure: errors and coverage over time, the claims as lines."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from heimdall.monitor.monitor import PROBABILITIES, Finding


def draw(found: Finding) -> bytes:
    """A PNG of a finding with new sessions: the error of each, and how many truths were covered so far."""
    assert found.new is not None  # noqa: S101 - the caller's promise
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{found.model.name}: sessions approved since ({found.data} data), claims dashed")
    left, right = figure.subplots(1, 2)
    error_m, claimed_m = found.new.errors.distance_m, found.claimed.errors.distance_m
    left.semilogy(found.approved_at, error_m, ".", color="#555555", label="error of a session")
    running_m = np.cumsum(error_m) / np.arange(1, len(error_m) + 1)
    left.semilogy(found.approved_at, running_m, color="#0072b2", label="mean so far")
    left.axhline(claimed_m.mean(), color="#0072b2", linestyle="--", label="claimed mean")
    left.set(xlabel="approved", ylabel="error, m")
    left.legend()
    for probability, color in zip(PROBABILITIES, ("#0072b2", "#d55e00"), strict=True):
        inside = found.new.errors.level <= probability
        share = np.cumsum(inside) / np.arange(1, len(inside) + 1)
        right.plot(found.approved_at, 100 * share, color=color, label=f"inside the {probability:.0%} region")
        claimed = np.mean(found.claimed.errors.level <= probability)
        right.axhline(100 * claimed, color=color, linestyle="--")
    right.set(xlabel="approved", ylabel="truths covered so far, %", ylim=(0, 105))
    right.legend(loc="lower right")
    figure.autofmt_xdate()
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
