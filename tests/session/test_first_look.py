"""docs/first_look.ipynb: every cell runs in a clone with data, and shows what it says."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests import REPOSITORY
from tests.browser import count_colours
from tests.session import shown_world

NOTEBOOK = REPOSITORY / "docs/first_look.ipynb"
MOST_CELLS = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook with its outputs, run beside the data of a tiny clone."""
    root = tmp_path_factory.mktemp("first look")
    shown_world.write(root)
    (root / "docs").mkdir()
    shutil.copy(NOTEBOOK, root / "docs")
    notebook = nbformat.read(root / "docs" / NOTEBOOK.name, as_version=4)
    where = {"metadata": {"path": str(root / "docs")}}
    return NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()


def _pictures(cell: nbformat.NotebookNode) -> list[np.ndarray]:
    found = [output["data"]["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    pictures = [matplotlib.image.imread(io.BytesIO(base64.b64decode(one)), format="png") for one in found]
    return [np.round(picture * 255).astype(np.uint8) for picture in pictures]


def test_in_git_it_has_at_most_ten_cells_of_code_and_no_output() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 0 < len(code) <= MOST_CELLS
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_every_cell_runs_without_a_warning_and_all_but_the_first_show_something(
    run: nbformat.NotebookNode,
) -> None:
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    said = [output.text for cell in code for output in cell.outputs if output.output_type == "stream"]
    assert said == []
    assert all(cell.outputs for cell in code[1:])


def test_features_correlations_and_the_map_are_drawn(run: nbformat.NotebookNode) -> None:
    drawn = [picture for cell in run.cells if cell.cell_type == "code" for picture in _pictures(cell)]
    assert len(drawn) == 3
    for picture in drawn:
        assert count_colours(picture) > 100
    height, width, _ = drawn[-1].shape
    assert min(height, width) > 1000


def test_both_methods_answer(run: nbformat.NotebookNode) -> None:
    text = "".join(
        output["data"].get("text/plain", "")
        for cell in run.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    )
    assert "the trained localizer" in text
    assert "times and levels, without learning" in text


def test_documents_lead_to_it() -> None:
    assert "docs/first_look.ipynb" in (REPOSITORY / "README.md").read_text("utf-8")
    assert str(Path(NOTEBOOK.name)) in (REPOSITORY / "docs/README.md").read_text("utf-8")
