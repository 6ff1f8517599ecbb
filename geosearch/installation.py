"""Which installation of geosearch this is, and what adds to it: a checkout, a wheel, an image."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from geosearch.errors import MissingExtraError

#: The distribution's name; `geosearch` on the package index is another project.
DISTRIBUTION = "geosearch-photos"

#: Only a checkout has it.
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def optional(purpose: str, extra: str, *modules: str) -> Any:
    """The first of the modules of an optional package, all of them loaded.

    Raises
    ------
    MissingExtraError
        It is not installed; the message says what needs it.
    """
    try:
        first, *_ = map(import_module, modules)
        return first
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be loaded: {error}"
        raise MissingExtraError(
            f"{purpose} needs {error.name or modules[0]}, which {why}", f"Run: {remedy(extra)}"
        ) from error


def extra_of(error: ImportError) -> str | None:
    """The extra that has the package which could not be imported, if one has it."""
    return _EXTRAS.get((error.name or "").partition(".")[0])


#: Packages of extras that many modules import, the more basic ones of each.
_EXTRAS = {
    "torch": "torch",
    "torchvision": "torch",
    "onnx": "torch",
    "matplotlib": "pictures",
    "mpl_toolkits": "pictures",
}


def remedy(extra: str = "") -> str:
    """The command that adds what an extra needs; without one, what every installation needs."""
    image = os.environ.get("GEOSEARCH_IMAGE_EXTRAS")  # set by docker/app.Dockerfile
    if image is not None:
        extras = ",".join(filter(None, [image, extra]))
        return f"docker compose build --build-arg EXTRAS={extras}"
    script, asked = SCRIPTS / "make-venv", f"[{extra}]" if extra else ""
    if not script.is_file():
        return shlex.join([sys.executable, "-m", "pip", "install", f"{DISTRIBUTION}{asked}"])
    root = SCRIPTS.parent
    if Path(sys.prefix) == root / ".venv":
        return shlex.join([str(script), *filter(None, [extra])])
    return shlex.join([sys.executable, "-m", "pip", "install", "--editable", f"{root}{asked}"])
