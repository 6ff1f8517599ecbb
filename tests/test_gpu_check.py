"""`scripts/gpu-check`, of which all but the GPU can be tried here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.rested

SCRIPT = Path(__file__).parent.parent / "scripts" / "gpu-check"
SMALL = ("--photos", "32", "--references", "1000", "--queries", "8")


@pytest.mark.timeout(900)  # networks of PyTorch, on a CPU that does other things as well
def test_every_check_passes_on_a_cpu(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ("--device", "cpu", "--architecture", "torchvision/squeezenet1_1", *SMALL)
    ran = subprocess.run(
        [sys.executable, SCRIPT, *options, "-o", figures],
        capture_output=True,
        text=True,
        check=False,
    )
    checks = json.loads(figures.read_text(encoding="utf-8"))["checks"]
    assert {name: found["verdict"] for name, found in checks.items()} == dict.fromkeys(
        ("parity", "extraction", "search", "training", "candidates"), "pass"
    )
    assert checks["candidates"]["notes"] == []
    assert ran.returncode == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so() -> None:
    ran = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "no GPU" in ran.stderr
    assert not ran.stdout
