"""The climb to the modes as machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geosearch.density import climb
from geosearch.density.kernel import Mixture
from geosearch.density.modes import find_modes


@pytest.mark.parametrize("bandwidth_km", [0.5, 300.0, 5000.0])
def test_machine_code_climbs_as_the_python_that_it_is_made_of(
    bandwidth_km: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    lat, lon = random.uniform(-60, 80, 25), random.uniform(-180, 180, 25)
    mixture = Mixture.at(lat, lon, random.dirichlet(np.ones(25)), bandwidth_km)
    fast = find_modes(mixture)
    for name in ("climb", "step", "_move", "_join"):
        function: Any = getattr(climb, name)
        monkeypatch.setattr(climb, name, function.py_func)
    slow = find_modes(mixture)
    assert len(fast) == len(slow)
    for mode, same in zip(fast, slow, strict=True):
        assert (mode.lat, mode.lon) == pytest.approx((same.lat, same.lon), abs=1e-9)
        assert mode.mass == pytest.approx(same.mass)
        assert mode.density == pytest.approx(same.density)


def test_a_function_without_a_folder_for_its_machine_code_is_compiled_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec(compile("def twice(number):\n    return 2 * number", "<nowhere>", "exec"), scope)
    twice: Any = climb.compiled(scope["twice"])
    assert twice(21) == 42
    assert len(twice.signatures) == 1
