"""Losses and batches: values worked out by hand, gradients, and what an epoch holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from geosearch.errors import InputError
from geosearch.geocells.partition import Partition
from geosearch.sphere import Array, destination, great_circle_km
from geosearch.training.batches import batches
from geosearch.training.losses import LOSSES, Loss, Target, loss_options, make_loss

CLASSIFICATION = ("classification", "smoothed")
METRIC = ("contrastive", "triplet", "distance-logistic")


@dataclass
class Zones:
    """A partition into equal zones of longitude."""

    count: int

    def __len__(self) -> int:
        return self.count

    def locate(self, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.int64]:
        east = (np.asarray(lon, float) + 180) % 360
        return np.floor(east / 360 * self.count).astype(np.int64)

    @property
    def centres(self) -> Array:
        lon = (np.arange(self.count) + 0.5) / self.count * 360 - 180
        return np.column_stack([np.zeros(self.count), lon])


def zones(count: int) -> Partition:
    return cast(Partition, Zones(count))  # all of a partition that a loss needs


def loss_of(name: str, dimension: int = 2, cells: tuple[int, ...] = (4,), **options: Any) -> Loss:
    partitions = [zones(count) for count in cells] if name in CLASSIFICATION else []
    return make_loss(name, dimension=dimension, partitions=partitions, **options)


def unit(*degrees: float) -> Tensor:
    """Embeddings on the circle."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def squared(degrees: float) -> float:
    """The squared distance of embeddings so far apart on the circle."""
    return float(2 - 2 * np.cos(np.radians(degrees)))


#: Two photos of Paris, one of Versailles, one of Orléans (about 110 km away), two of Sydney.
LAT = [48.85, 48.86, 48.80, 47.90, -33.87, -33.86]
LON = [2.35, 2.34, 2.13, 1.90, 151.21, 151.20]


class TestClassification:
    def test_without_knowledge_it_is_the_log_of_the_number_of_cells(self) -> None:
        loss = loss_of("classification", cells=(4, 10)).double()
        for weights in loss.parameters():
            torch.nn.init.zeros_(weights)
        target = Target.at(LAT, LON, [zones(4), zones(10)])
        value = loss(unit(0, 50, 100, 150, 200, 250), target)
        assert value.item() == pytest.approx(np.log(4) + np.log(10))

    def test_it_is_the_sum_over_partitions_of_the_log_of_the_cells_probability(self) -> None:
        torch.manual_seed(1)
        loss = loss_of("classification", cells=(3, 8)).double()
        target = Target.at(LAT, LON, [zones(3), zones(8)])
        embeddings = unit(10, 20, 30, 140, 250, 260)
        expected = 0.0
        for column, (weights, bias) in enumerate(loss.classifiers()):
            logits = (embeddings @ weights.T + bias).detach().numpy()
            odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            cells = target.cells[:, column].numpy()
            expected += -np.log(odds[np.arange(6), cells]).mean()
        assert loss(embeddings, target).item() == pytest.approx(expected)

    def test_classifiers_have_the_learned_scale_folded_in(self) -> None:
        loss = loss_of("classification", dimension=5, cells=(3, 8), scale=7.0)
        (coarse, bias), (fine, _) = loss.classifiers()
        assert coarse.shape == (3, 5)
        assert bias.shape == (3,)
        assert fine.shape == (8, 5)
        # Weights are drawn with a norm of about one before the scale.
        assert fine.norm(dim=1).mean().item() == pytest.approx(7, rel=0.4)

    def test_heads_are_the_same_for_the_same_seed(self) -> None:
        torch.manual_seed(3)
        first = loss_of("classification").classifiers()[0][0]
        torch.manual_seed(3)
        again = loss_of("classification").classifiers()[0][0]
        assert torch.equal(first, again)

    def test_descent_learns_places_that_can_be_told_apart(self) -> None:
        torch.manual_seed(0)
        loss = loss_of("classification", cells=(4, 8)).double()
        embeddings = unit(0, 2, 4, 6, 180, 182)
        target = Target.at(LAT, LON, [zones(4), zones(8)])
        optimiser = torch.optim.SGD(loss.parameters(), lr=0.05)
        before = loss(embeddings, target).item()
        for _ in range(50):
            optimiser.zero_grad()
            loss(embeddings, target).backward()
            optimiser.step()
        assert loss(embeddings, target).item() < before / 4
        for column, (weights, bias) in enumerate(loss.classifiers()):
            guesses = (embeddings @ weights.T + bias).argmax(dim=1)
            assert torch.equal(guesses, target.cells[:, column])

    @pytest.mark.parametrize("name", CLASSIFICATION)
    def test_a_partition_is_needed(self, name: str) -> None:
        with pytest.raises(InputError, match="partitions: "):
            make_loss(name, dimension=2)


class TestSmoothed:
    def test_labels_fall_with_the_distance_of_the_cells_centre(self) -> None:
        loss = loss_of("smoothed", cells=(4,), smoothing_km=2000.0)
        lat, lon = 10.0, 30.0
        labels = loss.labels(0, Target.at([lat], [lon]))[0].numpy()  # type: ignore[operator]
        away = great_circle_km(lat, lon, *zones(4).centres.T)
        expected = np.exp(-away / 2000)
        np.testing.assert_allclose(labels, expected / expected.sum(), rtol=1e-5)

    def test_with_little_smoothing_it_is_the_cross_entropy_of_the_nearest_cell(self) -> None:
        torch.manual_seed(0)
        sharp = loss_of("smoothed", cells=(5,), smoothing_km=1e-3).double()
        hard = loss_of("classification", cells=(5,)).double()
        hard.load_state_dict(sharp.state_dict())
        lat, lon = [0.0, 5.0, -5.0], [-150.0, 3.0, 140.0]
        target = Target.at(lat, lon, [zones(5)])
        embeddings = unit(10, 130, 220)
        assert sharp(embeddings, target).item() == pytest.approx(
            hard(embeddings, target).item(), rel=1e-5
        )

    def test_to_mistake_a_cell_for_its_neighbour_costs_less_than_for_its_antipode(self) -> None:
        loss = loss_of("smoothed", cells=(8,), smoothing_km=1000.0).double()
        target = Target.at([0.0], [22.5], [zones(8)])
        for weights in loss.parameters():
            torch.nn.init.zeros_(weights)
        costs = []
        for guess in (4, 5, 0):  # its own cell, its neighbour, its antipode
            (_, bias), *_ = loss.classifiers()
            with torch.no_grad():
                bias.copy_(torch.nn.functional.one_hot(torch.tensor(guess), 8) * 5)
            costs.append(loss(unit(0), target).item())
        assert costs[0] < costs[1] < costs[2]


class TestMetric:
    def test_pairs_follow_from_distances_and_those_between_count_as_neither(self) -> None:
        loss = loss_of("contrastive", positive_km=50.0, negative_km=1000.0)
        positive, negative = loss.pairs(Target.at(LAT, LON))  # type: ignore[operator]
        expected = np.zeros((6, 6), bool)
        for a, b in ((0, 1), (0, 2), (1, 2), (4, 5)):
            expected[a, b] = expected[b, a] = True
        np.testing.assert_array_equal(positive.numpy(), expected)
        apart = np.zeros((6, 6), bool)
        apart[:4, 4:] = apart[4:, :4] = True
        np.testing.assert_array_equal(negative.numpy(), apart)

    def test_contrastive_pulls_positives_and_pushes_negatives_up_to_the_margin(self) -> None:
        loss = loss_of("contrastive", margin=1.2, positive_km=50.0)
        target = Target.at([0, 0, 60, -60], [0, 0.1, 90, -90])
        # Distances to the positive 40°; negatives at 60° and 50° (within the margin) or farther.
        value = loss(unit(0, 40, 90, 200), target).item()
        near = [d for d in (50, 90, 110, 160) if squared(d) < 1.2**2]
        assert near == [50]
        expected = (squared(40) + (1.2 - squared(50) ** 0.5) ** 2) / 2
        assert value == pytest.approx(expected)

    def test_triplets_take_the_nearest_negative_that_is_farther_than_the_positive(self) -> None:
        loss = loss_of("triplet", margin=0.5, positive_km=50.0)
        target = Target.at([0, 0, 60, -60], [0, 0.1, 90, -90])
        # From photo 0 the positive is at 40°, negatives at 20° (too near) and 50°: the latter.
        # From photo 1 they are at 20° the other way (too near) and 90°.
        value = loss(unit(0, 40, 20, -50), target).item()
        lacking = [squared(40) - squared(50) + 0.5, squared(40) - squared(90) + 0.5]
        expected = np.mean([one for one in lacking if one > 0])
        assert value == pytest.approx(expected)

    def test_a_triplet_without_semi_hard_negative_takes_the_farthest(self) -> None:
        loss = loss_of("triplet", margin=0.1, positive_km=50.0)
        target = Target.at([0, 0, 60, -60], [0, 0.1, 90, -90])
        # Both negatives lie between the positives.
        value = loss(unit(0, 80, 30, 40), target).item()
        expected = np.mean([squared(80) - squared(40) + 0.1, squared(80) - squared(50) + 0.1])
        assert value == pytest.approx(expected)

    def test_the_logistic_loss_is_the_mean_over_all_triplets(self) -> None:
        loss = loss_of("distance-logistic", scale=3.0, positive_km=50.0)
        target = Target.at([0, 0, 60, -60], [0, 0.1, 90, -90])
        at = (0.0, 40.0, 20.0, 130.0)
        terms = []
        for anchor, positive in ((0, 1), (1, 0)):
            for negative in (2, 3):
                excess = squared(40) - squared(at[anchor] - at[negative])
                assert at[positive] != at[anchor]
                terms.append(np.log1p(np.exp(3 * excess)))
        assert loss(unit(*at), target).item() == pytest.approx(np.mean(terms))

    @pytest.mark.parametrize("name", METRIC)
    @pytest.mark.parametrize("lon", [[0.0, 90.0, 180.0], [0.0, 0.01, 0.02], [7.0]])
    def test_a_batch_without_any_kind_of_pair_has_a_finite_loss(
        self, name: str, lon: list[float]
    ) -> None:
        embeddings = unit(*np.linspace(0, 200, len(lon))).requires_grad_()
        loss = loss_of(name)(embeddings, Target.at([0.0] * len(lon), lon))
        loss.backward()
        assert embeddings.grad is not None
        assert torch.isfinite(loss)
        assert torch.isfinite(embeddings.grad).all()

    @pytest.mark.parametrize("name", METRIC)
    def test_equal_embeddings_have_a_finite_gradient(self, name: str) -> None:
        embeddings = unit(*[30.0] * 6).requires_grad_()
        loss_of(name)(embeddings, Target.at(LAT, LON)).backward()
        assert embeddings.grad is not None
        assert torch.isfinite(embeddings.grad).all()

    @pytest.mark.parametrize("name", METRIC)
    def test_descent_parts_the_places(self, name: str) -> None:
        torch.manual_seed(0)
        target = Target.at(LAT, LON)
        free = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
        loss = loss_of(name)
        optimiser = torch.optim.Adam([free], lr=0.05)
        for _ in range(100):
            optimiser.zero_grad()
            loss(torch.nn.functional.normalize(free, dim=1), target).backward()
            optimiser.step()
        embeddings = torch.nn.functional.normalize(free, dim=1).detach()
        products = (embeddings @ embeddings.T).numpy()
        positive, negative = (mask.numpy() for mask in loss.pairs(target))  # type: ignore[operator]
        assert products[positive].min() > products[negative].max()

    @pytest.mark.parametrize("name", METRIC)
    def test_partitions_are_refused(self, name: str) -> None:
        with pytest.raises(InputError, match="no geocells"):
            make_loss(name, dimension=2, partitions=[zones(3)])


class TestEveryLoss:
    @pytest.mark.parametrize("name", LOSSES)
    def test_gradients_agree_with_differences(self, name: str) -> None:
        torch.manual_seed(5)
        loss = loss_of(name, dimension=4, cells=(3, 7)).double()
        target = Target.at(LAT, LON, [zones(3), zones(7)])
        free = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)

        def of_parameters(free: Tensor, *parameters: Tensor) -> Tensor:
            named = dict(zip(dict(loss.named_parameters()), parameters, strict=True))
            embeddings = torch.nn.functional.normalize(free, dim=1)
            value: Tensor = torch.func.functional_call(loss, named, (embeddings, target))
            return value

        assert of_parameters(free, *loss.parameters()).item() > 0
        assert torch.autograd.gradcheck(of_parameters, (free, *loss.parameters()))

    @pytest.mark.parametrize("name", LOSSES)
    def test_it_is_computed_in_float32_under_autocast(self, name: str) -> None:
        torch.manual_seed(5)
        loss = loss_of(name, dimension=16, cells=(3,))
        target = Target.at(LAT, LON, [zones(3)])
        embeddings = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
        plain = loss(embeddings, target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert loss(embeddings, target).item() == plain.item()

    @pytest.mark.parametrize("name", LOSSES)
    def test_the_order_of_photos_does_not_matter(self, name: str) -> None:
        torch.manual_seed(6)
        loss = loss_of(name, dimension=4, cells=(3, 7)).double()
        embeddings = torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1)
        order = [3, 1, 5, 0, 4, 2]
        partitions = [zones(3), zones(7)]
        value = loss(embeddings, Target.at(LAT, LON, partitions))
        moved = Target.at(np.array(LAT)[order], np.array(LON)[order], partitions)
        assert loss(embeddings[order], moved).item() == pytest.approx(value.item())

    def test_an_unknown_loss_or_option_is_refused_and_the_known_ones_named(self) -> None:
        with pytest.raises(InputError, match="contrastive"):
            make_loss("hinge", dimension=2)
        with pytest.raises(InputError, match="margin"):
            make_loss("triplet", dimension=2, sharpness=3.0)

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("contrastive", {"margin": 0.0}),
            ("triplet", {"margin": -1.0}),
            ("distance-logistic", {"scale": float("nan")}),
            ("triplet", {"positive_km": 500.0, "negative_km": 100.0}),
            ("smoothed", {"smoothing_km": 0.0}),
            ("classification", {"scale": float("inf")}),
        ],
    )
    def test_options_out_of_range_are_refused(self, name: str, options: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            loss_of(name, **options)

    def test_options_are_listed_with_their_defaults(self) -> None:
        assert loss_options("triplet") == {
            "margin": 0.2,
            "positive_km": 200.0,
            "negative_km": 1000.0,
        }
        assert loss_options("smoothed") == {"scale": 16.0, "smoothing_km": 75.0}


positions = st.lists(
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=0, max_size=60
).map(lambda points: np.array(points).reshape(-1, 2).T)


class TestBatches:
    @settings(max_examples=60, deadline=None)
    @given(positions, st.integers(1, 20), st.booleans(), st.integers(0, 5), st.floats(1.0, 30000.0))
    def test_an_epoch_holds_every_photo_once_in_full_batches(
        self, places: Array, size: int, paired: bool, epoch: int, radius: float
    ) -> None:
        lat, lon = places
        found = list(batches(lat, lon, size, paired=paired, epoch=epoch, radius_km=radius))
        n = len(lat)
        assert [len(one) for one in found[:-1]] == [size] * max(0, len(found) - 1)
        assert len(found) == -(-n // size)
        assert sorted(int(index) for one in found for index in one) == list(range(n))

    @pytest.mark.parametrize("paired", [False, True])
    def test_the_order_follows_from_seed_and_epoch_alone(self, paired: bool) -> None:
        lat, lon = scattered(300)

        def order(seed: int, epoch: int) -> tuple[int, ...]:
            made = batches(lat, lon, 32, paired=paired, seed=seed, epoch=epoch)
            return tuple(int(index) for one in made for index in one)

        assert order(1, 2) == order(1, 2)
        assert len({order(1, 2), order(1, 3), order(2, 2), order(0, 0)}) == 4

    def test_paired_batches_hold_groups_within_the_radius_and_nothing_else_together(self) -> None:
        # 40 towns of 8 photos within 20 km of their middle, thousands of km apart.
        lat, lon = towns(40, 8, within_km=20.0)
        for one in batches(lat, lon, 32, paired=True, radius_km=50.0, group=4):
            town = one // 8
            counts = np.bincount(town, minlength=40)
            assert set(counts[counts > 0]) <= {4, 8}

    def test_unpaired_batches_are_not_grouped(self) -> None:
        lat, lon = towns(40, 8, within_km=20.0)
        firsts = next(batches(lat, lon, 32, paired=False)) // 8
        assert len(np.unique(firsts)) > 16

    def test_a_photo_far_from_all_others_comes_alone(self) -> None:
        lat, lon = towns(5, 4, within_km=10.0)
        found = list(batches([*lat, -80.0], [*lon, 10.0], 7, paired=True, radius_km=50.0))
        assert 20 in np.concatenate(found)

    def test_photos_at_one_position_are_all_grouped(self) -> None:
        found = list(batches([48.0] * 4000, [2.0] * 4000, 400, paired=True, group=4))
        assert sorted(np.concatenate(found)) == list(range(4000))

    def test_groups_cross_the_antimeridian_and_the_poles(self) -> None:
        lat, lon = [0.0, 0.0, 89.9, 89.9], [179.9, -179.9, 0.0, 180.0]
        for one in batches(lat, lon, 2, paired=True, radius_km=50.0):
            assert set(one.tolist()) in ({0, 1}, {2, 3})

    @pytest.mark.parametrize(
        ("size", "group", "radius_km"), [(0, 4, 200.0), (8, 1, 200.0), (8, 4, 0.0)]
    )
    def test_unusable_arguments_are_refused_at_once(
        self, size: int, group: int, radius_km: float
    ) -> None:
        with pytest.raises(
            InputError, match=f"of {size} in groups of {group} within {radius_km:g}"
        ):
            batches([0.0], [0.0], size, group=group, radius_km=radius_km)

    def test_positions_that_do_not_match_are_refused(self) -> None:
        with pytest.raises(InputError, match="do not match"):
            batches([0.0, 1.0], [0.0], 2)


def scattered(n: int) -> tuple[Array, Array]:
    """Positions spread evenly over the sphere."""
    random = np.random.default_rng(0)
    return np.degrees(np.arcsin(random.uniform(-1, 1, n))), random.uniform(-180, 180, n)


def towns(count: int, photos: int, *, within_km: float) -> tuple[Array, Array]:
    """Towns on a spiral from pole to pole, each with photos round its middle."""
    random = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(np.linspace(-0.98, 0.98, count)))
    lon = (np.arange(count) * 137.508) % 360 - 180
    shape = (count, photos)
    return tuple(  # type: ignore[return-value]
        one.ravel()
        for one in destination(
            lat[:, None],
            lon[:, None],
            random.uniform(0, 360, shape),
            random.uniform(0, within_km, shape),
        )
    )
