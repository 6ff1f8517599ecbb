"""What the first answer would pay for, paid while the server starts."""

from __future__ import annotations

import io
import logging
from threading import Event
from typing import get_args

import numpy as np

from geosearch.density.modes import expect_many
from geosearch.errors import GeosearchError, NotFoundError
from geosearch.untrusted import for_terminal
from geosearch.web.access import Caller
from geosearch.web.asking import Asked, Include, answer
from geosearch.web.engine import Engine

#: Seconds after which what failed is tried again.
AGAIN_S = 30.0

logger = logging.getLogger(__name__)


def keep_warming(engine: Engine, caller: Caller, ending: Event) -> None:
    """Load the networks, and answer once with each: the first who asks must not wait for it.

    Where that fails, it is tried again until the server is `ending`: the database may be late.
    """
    while not ending.is_set():
        try:
            expect_many()
            for spec in engine.models:
                _answer_once(engine, caller, spec)
        except Exception as error:
            known = isinstance(error, GeosearchError)
            message = str(error) if known else f"{type(error).__name__}: {error}"
            if message != engine.message:
                logger.error("%s", for_terminal(message), exc_info=None if known else error)
            engine.state, engine.message = "failed", message
            ending.wait(AGAIN_S)
        else:
            engine.state, engine.message = "ready", None
            return


def _answer_once(engine: Engine, caller: Caller, spec: str) -> None:
    from PIL import Image

    picture = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    Image.fromarray(noise).save(picture, "JPEG")
    try:
        queries = engine.embedded(caller.database, spec, "warming", picture.getvalue)
    except NotFoundError:  # no photo is embedded yet, or this login sees no whitened model
        return
    asked = Asked.model_validate({"record": False, "include": get_args(Include)})
    answer(caller, queries, asked, picture=picture.getvalue)
