"""Questions in words, of models that know pictures and words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from starlette.testclient import TestClient

import geosearch
from geosearch.client import Geosearch
from geosearch.database.connection import Database
from geosearch.errors import InputError
from geosearch.features import backbones, load_backbone
from geosearch.features.given_queries import GivenQuery, text_query
from geosearch.localization import request
from geosearch.web.access import Gate
from geosearch.web.application import make_application
from geosearch.web.engine import Engine
from tests import foreign_models as made
from tests.command_line import CommandLine
from tests.photo_files import photos_at

SAID = "a red barn"


@pytest.fixture(autouse=True)
def _in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No export to ONNX, which takes long."""
    monkeypatch.setattr(backbones, "onnx_network", lambda *_: None)


@pytest.mark.parametrize("kind", ["clip", pytest.param("siglip", marks=pytest.mark.system)])
def test_transformers_embed_words_as_transformers_do(kind: str, tmp_path: Path) -> None:
    folder = made.transformers_folder(tmp_path, kind)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    words: Any = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = words([SAID], return_tensors="pt", padding="max_length", max_length=8)
    if kind == "siglip":
        del tokens["attention_mask"]
    wanted = made.bare(lambda _: model.get_text_features(**tokens), torch.zeros(1))
    backbone = load_backbone(f"transformers/{folder}", device="cpu", at_once=False)
    assert backbone.embed_text(SAID) == pytest.approx(wanted[0], abs=1e-5)
    assert backbone.embed_text(SAID) != pytest.approx(backbone.embed_text("a lake"), abs=1e-3)


def test_open_clip_embeds_words_as_open_clip_does(tmp_path: Path) -> None:
    folder = made.open_clip_folder(tmp_path)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([SAID])
    wanted = made.bare(lambda _: model.encode_text(tokens), torch.zeros(1))
    backbone = load_backbone(f"open_clip/{folder}", device="cpu", at_once=False)
    assert backbone.embed_text(SAID) == pytest.approx(wanted[0], abs=1e-5)


@pytest.fixture
def gs(database: Database, tmp_path: Path) -> Iterator[tuple[Geosearch, str]]:
    """A database with photos embedded by a model that knows words, and its spec."""
    folder = tmp_path / "photos"
    photos_at(folder, [(10 + n, 20) for n in range(8)], size=(48, 36))
    spec = f"transformers/{made.transformers_folder(tmp_path, 'clip')}"
    with geosearch.connect(database.url) as opened:
        opened.ingest(folder, collection="mine")
        opened.embed(spec, device="cpu")
        yield opened, spec


@pytest.mark.system
def test_words_find_the_photos_they_are_most_like(
    gs: tuple[Geosearch, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened, spec = gs
    backbone = load_backbone(spec, device="cpu")
    said = backbone.embed_text(SAID)
    similar = []
    for number in range(8):
        found = opened.nearest(tmp_path / "photos" / f"{number}.jpg", 1, model=spec)
        with opened.database.connection() as connection:
            (row,) = connection.execute(
                "SELECT embedding::real[] FROM geosearch.embeddings WHERE photo_id = %s",
                [int(found.photo_id[0])],
            ).fetchall()
        similar.append(float(np.dot(row[0], said)))
    nearest = opened.nearest(text=f"  {SAID.replace(' ', '  ')}", k=8, model=spec)
    assert nearest.lat.tolist() == pytest.approx([10 + n for n in np.argsort(similar)[::-1]])
    assert nearest.distance == pytest.approx(1 - np.sort(similar)[::-1], abs=2e-3)

    # Only a calibration of words is looked for.
    looked_for: list[bool] = []
    with monkeypatch.context() as patched:
        patched.setattr(request, "latest_calibration", lambda *_, words: looked_for.append(words))
        answer = opened.localize(text=SAID, model=spec)
    assert looked_for == [True]
    assert answer.photo == f"text:{SAID}"
    assert answer.probability_within_km == {}
    assert answer.calibration_fits is None
    assert answer.neighbours.photo_id.tolist() == nearest.photo_id.tolist()
    assert opened.load(answer.id or 0).photo == f"text:{SAID}"
    assert opened.reproduce(answer.id or 0).same

    run = CommandLine(opened.database.url, capsys)
    asked = ("--text", SAID, "--model", spec, "--json")
    listed = run("nearest", *asked).json()
    assert listed["photo"] == f"text:{SAID}"
    assert [each["photo_id"] for each in listed["neighbours"]] == nearest.photo_id.tolist()
    assert run("localize", *asked).json()["estimate"] == answer.to_json()["estimate"]
    two = run("localize", "--text", "a lake", *asked, "--no-record").out.splitlines()
    assert [json.loads(line)["photo"] for line in two] == ["text:a lake", f"text:{SAID}"]
    assert run("explain", *asked).json()["rows"] == 8
    assert run("nearest", "x.jpg", *asked).code == 2

    app = make_application(Engine([spec]), Gate(opened.database), None)
    with TestClient(app, "http://localhost") as client:
        body = {"text": SAID, "model": spec, "record": False}
        told = client.post("/api/v1/localize/text", json=body).json()
    assert (told["photo"], told["estimate"]) == (f"text:{SAID}", answer.to_json()["estimate"])


def test_words_that_cannot_be_asked_are_refused(gs: tuple[Geosearch, str]) -> None:
    opened, spec = gs
    for text in ("", " \n", "a\0b", "x" * 1001, 7):
        with pytest.raises(InputError, match="text"):
            opened.nearest(text=text, model=spec)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not both"):
        opened.localize("x.jpg", text=SAID, model=spec)
    with pytest.raises(InputError, match="compares pictures"):
        opened.localize(text=SAID, model=spec, verify=5)
    both: list[GivenQuery] = [text_query(SAID), "x.jpg"]
    with pytest.raises(InputError, match="asked apart"):
        list(opened.localize_many(both, model=spec))
    with pytest.raises(InputError, match="needs a calibration"):
        opened.localize(text=SAID, model=spec, min_presence=0.5)
    with pytest.raises(InputError, match="knows no words"):
        load_backbone(at_once=False).embed_text(SAID)
