"""The climb to the modes: by NumPy for one answer, in machine code for many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosearch import waiting
from geosearch.density import climb, compiled_climb, modes
from geosearch.density.kernel import Mixture
from geosearch.density.modes import Mode, find_modes
from geosearch.sphere import Array

Climber = Callable[[Array, Array], int]


def found(climber: Climber, mixture: Mixture) -> tuple[Mode, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes, "_climber", lambda _: climber)
        return find_modes(mixture)


def assert_same(some: tuple[Mode, ...], others: tuple[Mode, ...]) -> None:
    assert len(some) == len(others)
    for mode, same in zip(some, others, strict=True):
        assert (mode.lat, mode.lon) == pytest.approx((same.lat, same.lon), abs=1e-9)
        assert mode.mass == pytest.approx(same.mass, abs=1e-9)
        assert mode.density == pytest.approx(same.density, rel=1e-9)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 120),
    bandwidth_km=st.sampled_from([0.5, 25.0, 200.0, 1000.0, 5000.0]),
    wide=st.booleans(),
)
def test_numpy_and_machine_code_find_the_same_modes(
    seed: int, count: int, bandwidth_km: float, wide: bool
) -> None:
    random = np.random.default_rng(seed)
    lat, lon = random.uniform(-80, 80, count), random.uniform(-180, 180, count)
    close = random.random(count) < 0.5
    lat[close], lon[close] = random.normal(45, 3, close.sum()), random.normal(9, 3, close.sum())
    weights = random.dirichlet(np.full(count, 0.3))
    bandwidths = [bandwidth_km, 3000.0] if wide else bandwidth_km
    mixture = Mixture.of_neighbours(lat, lon, weights, bandwidths)
    assert_same(found(climb.climb, mixture), found(compiled_climb.climb, mixture))


@pytest.mark.parametrize("bandwidth_km", [0.5, 300.0, 5000.0])
def testmachine_code_climbs_as_the_python_that_it_is_made_of(
    bandwidth_km: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    lat, lon = random.uniform(-60, 80, 25), random.uniform(-180, 180, 25)
    mixture = Mixture.at(lat, lon, random.dirichlet(np.ones(25)), bandwidth_km)
    fast = found(compiled_climb.climb, mixture)
    for name in ("climb", "step", "_move", "_join"):
        function: Any = getattr(compiled_climb, name)
        monkeypatch.setattr(compiled_climb, name, function.py_func)
    assert_same(fast, found(compiled_climb.climb, mixture))


def test_machine_code_takes_over_when_there_is_much_to_climb(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modes, "_pairs", 0)
    used = [modes._climber(modes.PATIENCE // 2) for _ in range(3)]
    assert used == [climb.climb, climb.climb, compiled_climb.climb]
    monkeypatch.setattr(modes, "_pairs", 0)
    modes.expect_many()
    assert modes._climber(1) is compiled_climb.climb


def test_a_long_wait_for_the_compiler_is_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(*_: Array) -> int:
        time.sleep(0.2)
        return 0

    monkeypatch.setattr(compiled_climb, "climb", slow)
    with caplog.at_level(logging.WARNING):
        modes.machine_code.__wrapped__()
        assert not caplog.messages
        monkeypatch.setattr(waiting, "SILENCE_S", 0.01)
        modes.machine_code.__wrapped__()
    assert ["preparing the search for modes" in message for message in caplog.messages] == [True]


def test_a_function_without_a_folder_for_its_machine_code_is_compiled_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec(compile("def twice(number):\n    return 2 * number", "<nowhere>", "exec"), scope)
    twice: Any = compiled_climb.compiled(scope["twice"])
    assert twice(21) == 42
    assert len(twice.signatures) == 1
