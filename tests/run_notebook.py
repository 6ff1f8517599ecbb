"""The notebooks of docs/notebooks, run as Jupyter runs them: each in a folder of its own."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent.parent / "docs" / "notebooks"
#: Seconds that one cell may take.
_TIMEOUT_S = 180


def run_notebook(path: Path, folder: Path, url: str) -> NotebookNode:
    """A notebook with its outputs, run in `folder` on the database at `url`; raises as it does.

    What Jupyter and IPython keep of it is in `folder`, too.
    """
    names = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR")
    places = {name: str(folder / ".jupyter") for name in names}
    notebook: NotebookNode = jupytext.read(path)
    with patch.dict(os.environ, places | {"GEOSEARCH_DATABASE_URL": url}):
        NotebookClient(
            notebook,
            timeout=_TIMEOUT_S,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    return notebook
