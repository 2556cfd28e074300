"""The model card."""

from __future__ import annotations

import pytest

from heimdall.network.model_file import PRETRAINED_HASH
from heimdall.pipeline.export import card, export
from heimdall.pipeline.export.export import Exported
from heimdall.pipeline.export.graphs import recording_graph
from tests import known_sessions
from tests.feature_world import RECORD, untrained
from tests.pipeline.export.conftest import EVALUATION, PARAMS


@pytest.mark.parametrize("kind", ["single", "fusion"])
def test_card_tells_figures_interface_and_limits(exported: Exported, kind: str) -> None:
    figures = export.figures(exported, "simulated", PARAMS.export) | {"model": kind}
    text = card.card(RECORD, EVALUATION, figures)
    assert "from **simulated** data" in text
    assert "weights of **simulated** sessions" not in text
    assert "weights of **simulated** sessions" in card.card(
        RECORD | {PRETRAINED_HASH: "0"}, EVALUATION, figures
    )
    assert str(RECORD["data_fingerprint"]) in text
    assert "| mean error, m | 512 [400, 700] |" in text
    assert "8 sessions of 3 transmitters, held out by transmitter" in text
    made = known_sessions.graph() if kind == "fusion" else recording_graph(untrained(), (3, 128, 32))
    for name in (*made.example, *made.outputs):
        assert f"`{name}`" in text
    assert ("3, 128, 32)" in text) == (kind == "single")
    assert "30 m" in text.partition("## Limits")[2]
    assert "{" not in text.partition("## Made of")[0]
