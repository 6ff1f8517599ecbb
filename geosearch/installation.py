"""Which installation of geosearch this is, and what adds to it: a checkout, a wheel, an image."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

#: The distribution's name; `geosearch` on the package index is another project.
DISTRIBUTION = "geosearch-photos"

_PACKAGE = Path(__file__).resolve().parent


def remedy(extra: str = "") -> str:
    """The command that adds what an extra needs; without one, what every installation needs."""
    image = os.environ.get("GEOSEARCH_IMAGE_EXTRAS")  # set by docker/app.Dockerfile
    if image is not None:
        extras = ",".join(filter(None, [image, extra]))
        return f"docker compose build --build-arg EXTRAS={extras}"
    root, asked = _PACKAGE.parent, f"[{extra}]" if extra else ""
    script = root / "scripts" / "make-venv"
    if not script.is_file():
        return shlex.join([sys.executable, "-m", "pip", "install", f"{DISTRIBUTION}{asked}"])
    if Path(sys.prefix) == root / ".venv":
        return shlex.join([str(script), *filter(None, [extra])])
    return shlex.join([sys.executable, "-m", "pip", "install", "--editable", f"{root}{asked}"])
