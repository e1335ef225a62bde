"""Scores and statistics of ablation.py against NumPy, SciPy and cases by hand."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

ROW = [1.0, 1.0, 3.0, 3.0]


def sharpness(pred: list[float], target: list[float]) -> float:
    from ablating.scores import EdgeSharpness

    edges = EdgeSharpness()
    # Two rows of one frame, whose columns have no edge.
    edges.update(*(torch.tensor([[[row, row]]]) for row in (pred, target)))
    return edges.compute()


@pytest.mark.parametrize(
    ("pred", "target", "expected"),
    [
        (ROW, ROW, 1.0),
        ([2.0, 2.0, 4.0, 4.0], ROW, 1.0),
        ([1.0, 5 / 3, 7 / 3, 3.0], ROW, 1 / 3),
        ([2.0, 2.0, 2.0, 2.0], ROW, 0.0),
        ([3.0, 3.0, 1.0, 1.0], ROW, -1.0),
        # An edge down of 1 m that is made, and one up of 3 m that is not.
        ([2.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 4.0], 0.25),
        # Beside a hole there is no edge, nor where the step is small, as a number or beside the depth.
        (ROW, [1.0, 0.0, 3.0, 3.0], math.nan),
        (ROW, [1.0, 1.0, 1.2, 1.2], math.nan),
        (ROW, [5.0, 5.0, 5.7, 5.7], math.nan),
    ],
)
def test_edge_sharpness(pred: list[float], target: list[float], expected: float) -> None:
    assert sharpness(pred, target) == pytest.approx(expected, nan_ok=True)


def test_edge_sharpness_looks_up_and_down_too_and_pools_frames() -> None:
    from ablating.scores import EdgeSharpness

    edges = EdgeSharpness()
    target = torch.tensor([[[[1.0], [3.0]]]])
    edges.update(target, target)
    # Half of a step of 6 m: with the 2 m above, 5 of 8.
    edges.update(torch.tensor([[[[1.0], [4.0]]]]), torch.tensor([[[[1.0], [7.0]]]]))
    assert edges.compute() == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((50, 1, 0, 4, 45), 0.1, [1, 3]),
        ((50, 1, 0, 4, 45), 0.04, [1]),
        ((50, 30, 20), 0.1, [2]),
        ((5, 5, 90), 0.1, [0, 1]),
    ],
)
def test_rarest_classes(counts: tuple[int, ...], share: float, expected: list[int]) -> None:
    from ablating.scores import rarest_classes

    assert rarest_classes(torch.tensor(counts), share) == expected


def test_scores_of_two_frames_by_hand() -> None:
    from ablating.scores import Scores

    target = torch.tensor([2.0, 5.0, 8.0, 0.0]).view(1, 1, 1, 4)
    labels = torch.tensor([0, 1, 2, 2]).view(1, 1, 4)
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 2, 0]), 3).float().T.reshape(1, 3, 1, 4)
    scores = Scores(3, [1, 2], (4.0, 4.5), 9.0, torch.device("cpu"))
    scores.update(target + torch.tensor([1.0, -2.0, -4.0, 7.0]), logits, target, labels)
    depth, found = scores.depth(), scores.labels()
    assert depth["rmse_near_third"] == pytest.approx(1.0)
    assert depth["rmse_far_third"] == pytest.approx(math.sqrt((4.0 + 16.0) / 2))
    assert depth["rmse_far_metres"] == pytest.approx(4.0)
    assert depth["bias_far_third"] == pytest.approx(-3.0)
    assert depth["rmse"] == pytest.approx(math.sqrt(7.0))
    assert depth["abs_rel"] == pytest.approx((1 / 2 + 2 / 5 + 4 / 8) / 3)
    # IoU 1/3, 0 and 1/2 of the three classes; the last two are rare.
    assert found["miou"] == pytest.approx((1 / 3 + 0 + 1 / 2) / 3)
    assert found["rare_iou"] == pytest.approx(1 / 4)


def test_thirds_have_as_many_pixels_each() -> None:
    from ablating.frames import thirds

    depth = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 99.0, float("nan")]).view(2, 1, 1, 5)
    assert thirds(depth, 10.0) == pytest.approx((3.0, 5.0))


def test_two_variants_are_the_paired_t_test_against_the_closed_form_of_four_degrees_of_freedom() -> None:
    from ablating.statistics import BlockDesign

    before = [1.0, 2.0, 3.0, 4.0, 5.0]
    after = [b + d for b, d in zip(before, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True)]
    found = BlockDesign({"before": before, "after": after}).compare("before", "after")
    error = math.sqrt(2.5 / 5)
    angle = math.atan(3.0 / error / 2.0)
    assert found.p == pytest.approx(1 - math.sin(angle) * (1 + math.cos(angle) ** 2 / 2))
    # The two-sided 95 % quantile of four degrees of freedom, from the printed table.
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3 - 2.776445 * error, 3 + 2.776445 * error))


def test_more_variants_share_the_estimate_of_the_error() -> None:
    from ablating.statistics import BlockDesign

    # Rests of 1, -1, 0 (three seeds), 0, 0, 0 and the negative of the first, about seeds of 0, 10 and 20.
    scores = {"a": [1.0, 9.0, 20.0], "b": [5.0, 15.0, 25.0], "c": [-1.0, 11.0, 20.0], "none": [math.nan] * 3}
    design = BlockDesign(scores)
    assert (design.freedom, design.deviation) == (4, pytest.approx(math.sqrt(4.0 / 4)))
    assert design.error("a", "b") == pytest.approx(math.sqrt(2.0 / 3))
    found = design.compare("a", "b")
    assert found.each == (4.0, 6.0, 5.0)
    assert (found.mean, found.high - found.mean) == pytest.approx((5.0, 2.776445 * math.sqrt(2.0 / 3)))
    # 80 % of Student's t with four degrees of freedom lie below 0.940965.
    assert design.detectable("a", "b", 1) == pytest.approx((2.776445 + 0.940965) * math.sqrt(2.0 / 3))
    assert design.detectable("a", "b", 10) > design.detectable("a", "b", 1)
    assert math.isnan(design.compare("a", "none").p)


def test_a_seed_that_is_not_complete_counts_as_far_as_it_goes() -> None:
    from ablating.statistics import BlockDesign

    nan = math.nan
    scores = {"a": [1.0, 12.0, 21.0], "b": [5.0, 14.5, nan], "c": [3.0, 12.5, 22.0], "d": [nan, nan, 30.0]}
    # The same by the normal equations of nine trials, with b and seed 0 at zero.
    rows = [("a", 0, 1.0), ("a", 1, 12.0), ("a", 2, 21.0), ("b", 0, 5.0), ("b", 1, 14.5), ("c", 0, 3.0), ("c", 1, 12.5),
            ("c", 2, 22.0), ("d", 2, 30.0)]  # fmt: skip
    model = np.array([[1, v == "a", v == "c", v == "d", s == 1, s == 2] for v, s, _ in rows], dtype=float)
    effects, squares, *_ = np.linalg.lstsq(model, np.array([y for *_, y in rows]), rcond=None)
    covariance = np.linalg.inv(model.T @ model) * float(squares[0]) / 3
    design = BlockDesign(scores)
    found = design.compare("b", "c")
    assert (design.freedom, found.each) == (3, (-2.0, -2.0))
    assert found.mean == pytest.approx(effects[2])
    assert design.error("b", "c") == pytest.approx(math.sqrt(covariance[2, 2]))
    # No seed has both.
    assert math.isnan(design.compare("b", "d").p)


def test_no_difference_and_no_score() -> None:
    from ablating.statistics import BlockDesign

    same = BlockDesign({"a": [1.0, 2.0], "b": [1.0, 2.0]}).compare("a", "b")
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    nothing = BlockDesign({"a": [math.nan] * 2, "b": [math.nan] * 2})
    assert math.isnan(nothing.compare("a", "b").p)
    assert math.isnan(nothing.detectable("a", "b", 1))


def test_holm_by_hand() -> None:
    from ablating.statistics import holm

    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 = 0.06 which may not fall below the one before, 0.5 * 1.
    assert holm([0.5, 0.01, 0.03, math.nan, 0.02])[:3] == pytest.approx([0.5, 0.04, 0.06])
    assert holm([0.5, 0.01, 0.03, math.nan, 0.02])[4] == pytest.approx(0.06)
    assert math.isnan(holm([math.nan])[0])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_spread_is_that_of_a_sample() -> None:
    from ablating.statistics import spread

    values = [0.1, 0.7, 0.2, 0.9]
    expected = statistics.fmean(values), statistics.stdev(values)
    assert spread(values) == pytest.approx(expected)
    assert spread([math.nan, *values]) == pytest.approx(expected)
    assert spread([math.nan, 0.5]) == pytest.approx((0.5, math.nan), nan_ok=True)
    assert spread([math.nan]) == pytest.approx((math.nan, math.nan), nan_ok=True)


def test_a_variant_that_varies_widely_blurs_its_own_family_only() -> None:
    from ablating.measures import MEASURES
    from ablating.statistics import BlockDesign
    from ablating.study import Study
    from ablating.variants import Comparison, Family, Variant

    base, mild, wild = (Variant(key, key) for key in ("base", "mild", "wild"))
    scores = {"base": (1.0, 2.0, 3.0), "mild": (1.5, 2.4, 3.6), "wild": (9.0, 1.0, 30.0)}
    pairs = Comparison(base, mild, "mild"), Comparison(base, wild, "wild")
    families = [Family(pair.title, pair.title, (pair,)) for pair in pairs]
    study = Study(families, (0, 1, 2), lambda variant, seed: {MEASURES[0].key: scores[variant.key][seed]})
    # The paired t-test of three seeds: changes of 0.5, 0.4 and 0.6; 4.302653 is the quantile of the printed table.
    half = 4.302653 * 0.1 / math.sqrt(3)
    found = study.finding(pairs[0], MEASURES[0]).difference
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    alone = BlockDesign({key: scores[key] for key in ("base", "wild")}).compare("base", "wild")
    assert study.finding(pairs[1], MEASURES[0]).difference == alone
    assert study.tests == 2


def test_one_comparison_that_goes_far_does_not_set_the_scale_of_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablating import picture
    from ablating.study import Study
    from ablating.variants import FAMILIES, Variant

    noise = np.random.default_rng(0).normal(0, 0.01, (100, 3))

    def load(variant: Variant, seed: int) -> dict[str, float]:
        place = [one.key for family in FAMILIES for one in family.variants].index(variant.key)
        far = 5.0 if variant.key == "plain_sum" else 0.0
        return dict.fromkeys(("rmse", "rmse_far_third", "boundary_f1", "miou"), 1 + far + noise[place, seed])

    figures = []
    monkeypatch.setattr(picture, "save_in_both_looks", lambda figure, path: figures.append(figure))
    picture.draw_effects(Study(FAMILIES, (0, 1, 2), load), Path("effects.png"))
    (figure,) = figures
    last = figure.axes[-4:]
    assert [axes.texts[0].get_text()[:2] for axes in last] == ["+5", "+5", "+5", "+5"]
    assert all(axes.get_xlim()[1] < 1 for axes in last[:2])
