"""What benchmarks/ablation.py switches off: the learned parts of a FusionNet, and what it sees of a session.

What the network's parts are called stands here and nowhere else in the benchmark.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from heimdall.network import fusion_net
from heimdall.network.filters import Filters
from heimdall.network.fusion_net import LAW, LAW_SPEED, FusionNet
from heimdall.network.tokens import SPREAD_SHARE, TILT_SHARE
from heimdall.signal.arrival import Arrivals, Observation

AS_IT_IS = "the network as it is"
UNTUNED = "fine-tuning off"
BLIND = "tilt and variance unseen"
BLIND_UNTUNED = f"{UNTUNED}, {BLIND}"


@dataclass(frozen=True)
class Setting:
    """A value that stands for nothing learned.

    Attributes:
        name: Of a tensor in the network's state.
        value: What it is set to; None for what it is before anything is learned.
        row: Of the tensor; None for all of it.
    """

    name: str
    value: float | None = 0.0
    row: int | None = None


def _head(name: str, row: int | None = None) -> tuple[Setting, ...]:
    return Setting(f"{name}.weight", row=row), Setting(f"{name}.bias", row=row)


CALIBRATION = (Setting("temperature", 1.0), Setting("floor_m"))
PARTS: dict[str, tuple[Setting, ...]] = {
    "receiver head off": _head("receiver_head"),
    "receiver head off, sigma alone": _head("receiver_head", 0),
    "receiver head off, bend alone": _head("receiver_head", 1),
    "session head off": _head("session_head"),
    "tilt share 0": (Setting("law", -TILT_SHARE / LAW_SPEED, LAW.index("tilt_share")),),
    "bend share 0": (Setting("law", -SPREAD_SHARE / LAW_SPEED, LAW.index("bend_share")),),
    "law as at first": (Setting("law"),),
    "calibration off": CALIBRATION,
}


def networks(tuned: FusionNet) -> dict[str, FusionNet]:
    """Copies of a network, each without a learned part, by the name of what it lacks.

    Args:
        tuned: The network as a world's training left it.

    Returns:
        In the order of the table; the last two lack all of it: with every part at its value of `PARTS`, and
        with the constants that the network has before it learns anything.
    """
    everything = [part for parts in PARTS.values() for part in parts if part.value is not None]
    untaught = fusion_net.from_config(tuned.config).eval()
    return {
        **{name: without(tuned, settings, untaught) for name, settings in PARTS.items()},
        "radio map off: the plain law": by_plain_law(tuned),
        "all of it off": by_plain_law(without(tuned, everything, untaught)),
        "all of it off, first constants": by_plain_law(untaught),
    }


def without(network: FusionNet, settings: Sequence[Setting], untaught: FusionNet) -> FusionNet:
    """A copy with some values set, where `None` is given to those of the untaught network."""
    changed, first = copy.deepcopy(network), untaught.state_dict()
    state = changed.state_dict()  # the copy's own memory
    for setting in settings:
        value = first[setting.name] if setting.value is None else torch.tensor(setting.value)
        tensor = state[setting.name]
        (tensor if setting.row is None else tensor[setting.row]).copy_(value)
    return changed


def untuned(tuned: FusionNet, pretrained: FusionNet) -> FusionNet:
    """A copy with the pretrained weights and calibration; all else stays the world's."""
    changed, state = copy.deepcopy(tuned), pretrained.state_dict()
    names = [name for name, _ in pretrained.named_parameters()] + [setting.name for setting in CALIBRATION]
    changed.load_state_dict({name: state[name] for name in names}, strict=False)
    return changed


def with_filters(network: FusionNet, filters: Filters) -> FusionNet:
    """A copy that knows other filters of its receivers."""
    changed = copy.deepcopy(network)
    changed.filters = filters
    changed.config["filters"] = asdict(filters)
    return changed


def by_plain_law(network: FusionNet) -> FusionNet:
    """A copy whose radio map is the law of levels by distance: no terrain, no offsets, no blocked paths."""
    changed, law = copy.deepcopy(network), network.power
    changed.radio = replace(
        network.radio,
        law=law,
        offset_db=tuple(0.0 for _ in network.radio.offset_db),
        terrain_db=tuple(tuple(0.0 for _ in row) for row in network.radio.terrain_db),
        clear_sigma_db=law.shadow_sigma_db,
        blocked_share=1e-9,
        power_scale_db=law.power_sigma_db,
    )
    return changed


def blind_to_echoes(sessions: Sequence[Observation]) -> list[Observation]:
    """The sessions as if nobody had measured the tilt and the variance of their channels."""
    return [
        replace(
            item,
            arrivals=Arrivals.without_echoes(
                item.arrivals.delay_s,
                item.arrivals.information_s2,
                item.arrivals.rms_bandwidth_hz,
                item.arrivals.shape,
            ),
        )
        for item in sessions
    ]
