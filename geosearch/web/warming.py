"""What the first answer would pay for, paid while the server starts."""

from __future__ import annotations

import io
from typing import get_args

import numpy as np

from geosearch.density.modes import expect_many
from geosearch.errors import GeosearchError, NotFoundError
from geosearch.web.access import Caller
from geosearch.web.asking import Asked, Include, answer
from geosearch.web.engine import Engine


def warm(engine: Engine, caller: Caller) -> None:
    """Load the networks, and answer once with each: the first who asks must not wait for it."""
    try:
        expect_many()
        for spec in engine.models:
            _answer_once(engine, caller, spec)
    except GeosearchError as error:
        engine.state, engine.message = "failed", str(error)
    except Exception as error:
        engine.state, engine.message = "failed", f"{type(error).__name__}: {error}"
        raise
    else:
        engine.state = "ready"


def _answer_once(engine: Engine, caller: Caller, spec: str) -> None:
    from PIL import Image

    picture = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    Image.fromarray(noise).save(picture, "JPEG")
    try:
        model, query = engine.embedded(caller.database, spec, "warming", picture.getvalue)
    except NotFoundError:  # no photo is embedded yet, or this login sees no whitened model
        return
    asked = Asked.model_validate({"record": False, "include": get_args(Include)})
    answer(caller, model, query, asked, picture=picture.getvalue)
