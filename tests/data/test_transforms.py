from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from depthattn.data import Sample
from depthattn.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    RandomCrop,
    RandomHorizontalFlip,
    RandomScale,
    Resize,
    eval_transform,
    train_transform,
)


def frame(height: int = 12, width: int = 16) -> Sample:
    """Every pixel holds its own place, in all three fields."""
    places = torch.arange(height * width).view(height, width)
    return {
        "image": torch.stack([places / (height * width)] * 3).float(),
        "depth": places[None].float() + 1.0,
        "labels": places.clone(),
    }


def test_crops_cut_the_same_window_of_all_fields() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        cut = RandomCrop((5, 6))(frame())
        top, left = divmod(int(cut["labels"][0, 0]), 16)
        expected = frame()["labels"][top : top + 5, left : left + 6]
        assert torch.equal(cut["labels"], expected)
        assert torch.equal(cut["depth"][0], expected + 1.0)
        torch.testing.assert_close(cut["image"][1], expected / 192)


def test_random_crop_reaches_every_corner() -> None:
    corners = {int(RandomCrop((11, 15))(frame())["labels"][0, 0]) for _ in range(100)}
    assert corners == {0, 1, 16, 17}


def test_center_crop_takes_the_middle() -> None:
    assert int(CenterCrop((4, 6))(frame())["labels"][0, 0]) == 4 * 16 + 5
    assert torch.equal(CenterCrop((12, 16))(frame())["labels"], frame()["labels"])


@pytest.mark.parametrize("crop", [RandomCrop, CenterCrop])
def test_a_crop_that_does_not_fit_names_both_sizes(crop: Any) -> None:
    with pytest.raises(ValueError, match=rf"{crop.__name__}: expected an image of at least 13x4 .*, got 12x16"):
        crop((13, 4))(frame())


def test_flip_mirrors_all_fields() -> None:
    flipped = RandomHorizontalFlip(1.0)(frame())
    assert flipped["labels"][0].tolist() == list(range(15, -1, -1))
    assert flipped["depth"][0, 1].tolist() == [float(v) for v in range(32, 16, -1)]
    torch.testing.assert_close(flipped["image"][2, 0, 0], torch.tensor(15 / 192))
    assert torch.equal(RandomHorizontalFlip(0.0)(frame())["labels"], frame()["labels"])


def test_flip_has_its_probability() -> None:
    flips = sum(int(RandomHorizontalFlip(0.25)(frame())["labels"][0, 0]) == 15 for _ in range(2000))
    assert 420 < flips < 580  # four standard deviations


def test_scale_divides_depth_and_repeats_the_nearest_pixel() -> None:
    scaled = RandomScale((2.0, 2.0))(frame())
    assert scaled["image"].shape == (3, 24, 32)
    assert torch.equal(scaled["labels"], frame()["labels"].repeat_interleave(2, 0).repeat_interleave(2, 1))
    expected = frame()["depth"].repeat_interleave(2, 1).repeat_interleave(2, 2) / 2.0
    assert torch.equal(scaled["depth"], expected)


def test_scale_by_a_fraction_takes_the_pixel_under_the_centre() -> None:
    scaled = RandomScale((1.5, 1.5))(frame(4, 4))
    # Centres of six pixels over four: 0.33, 1, 1.67, 2.33, 3, 3.67.
    assert scaled["labels"][0].tolist() == [0, 1, 1, 2, 3, 3]


def test_holes_neither_grow_nor_blur() -> None:
    sample = frame()
    sample["depth"] = torch.full((1, 12, 16), 3.0)
    sample["depth"][0, 4:8, 4:8] = 0.0
    for _ in range(20):
        scaled = RandomScale((1.0, 1.5))(sample)["depth"]
        assert len(scaled.unique()) == 2
        assert scaled.min() == 0.0
        assert 2.0 <= float(scaled.max()) <= 3.0


def test_scales_are_drawn_over_the_whole_range() -> None:
    sample = frame()
    sample["depth"] = torch.full((1, 12, 16), 6.0)
    scales = [6.0 / float(RandomScale((1.0, 1.5))(sample)["depth"].max()) for _ in range(300)]
    assert min(scales) >= 1.0
    assert max(scales) <= 1.5 + 1e-6
    assert np.mean(scales) == pytest.approx(1.25, abs=0.04)


def test_resize_keeps_metres_and_averages_the_image() -> None:
    half = Resize((6, 8))(frame())
    assert half["depth"].shape == (1, 6, 8)
    assert set(half["depth"].flatten().tolist()) <= set(frame()["depth"].flatten().tolist())
    flat = frame()
    flat["image"] = torch.full((3, 12, 16), 0.25)
    torch.testing.assert_close(Resize((5, 7))(flat)["image"], torch.full((3, 5, 7), 0.25))


@pytest.mark.parametrize(
    ("size", "covering"), [((6, 6), (6, 8)), ((6, 9), (7, 9)), ((24, 20), (24, 32)), ((12, 16), (12, 16))]
)
def test_cover_keeps_the_aspect_ratio(size: tuple[int, int], covering: tuple[int, int]) -> None:
    assert Resize(size, cover=True)(frame())["labels"].shape == covering


def test_jitter_leaves_depth_and_labels_and_stays_in_range() -> None:
    sample = frame()
    sample["image"] = torch.rand(3, 12, 16)
    jittered = ColorJitter(1.0, (0.5, 2.0))(sample)
    assert torch.equal(jittered["depth"], sample["depth"])
    assert torch.equal(jittered["labels"], sample["labels"])
    assert 0.0 <= float(jittered["image"].min()) <= float(jittered["image"].max()) <= 1.0
    assert not torch.allclose(jittered["image"], sample["image"], atol=0.05)


def test_jitter_of_no_strength_changes_nothing_but_rounding() -> None:
    sample = frame()
    result = ColorJitter(0.0, (1.0, 1.0))(sample)["image"]
    torch.testing.assert_close(result, (sample["image"] * 255).round() / 255)


def test_channel_gain_multiplies_channels() -> None:
    sample = frame()
    sample["image"] = torch.full((3, 12, 16), 0.4)
    torch.testing.assert_close(ColorJitter(0.0, (0.5, 0.5))(sample)["image"], torch.full((3, 12, 16), 0.2))


def test_jitter_is_one_of_the_orders_of_pillows_enhancers(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    sample = frame()
    sample["image"] = torch.from_numpy(pixels).permute(2, 0, 1) / 255.0
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor([2, 0, 1]))
    monkeypatch.setattr(torch, "rand", lambda *_: torch.tensor(1.0))  # every factor at its upper bound
    picture = Image.fromarray(pixels)
    for enhancer in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = enhancer(picture).enhance(1.3)
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255.0
    torch.testing.assert_close(ColorJitter(0.3, (1.0, 1.0))(sample)["image"], expected)


@pytest.mark.parametrize(
    "transform",
    [
        train_transform((8, 10)),
        eval_transform((8, 10)),
        Compose([RandomScale(), RandomHorizontalFlip(1.0), ColorJitter()]),
    ],
)
def test_the_sample_given_stays_as_it_is(transform: Compose) -> None:
    sample = frame()
    before = copy.deepcopy(sample)
    result = transform(sample)
    for key, value in before.items():
        assert torch.equal(sample[key], value)  # type: ignore[literal-required]  # the keys of a TypedDict
    result["image"].zero_()
    assert torch.equal(sample["image"], before["image"])


def test_manual_seed_determines_the_result() -> None:
    transform = train_transform((8, 10))
    torch.manual_seed(3)
    first = [transform(frame()) for _ in range(4)]
    torch.manual_seed(3)
    second = [transform(frame()) for _ in range(4)]
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert len({tuple(sample["image"].flatten().tolist()) for sample in first}) == 4


@pytest.mark.parametrize("size", [(8, 10), (12, 16), (30, 20)])
def test_train_and_eval_give_the_size_asked_for(size: tuple[int, int]) -> None:
    for transform in (train_transform(size), eval_transform(size)):
        result = transform(frame())
        assert result["image"].shape == (3, *size)
        assert result["depth"].shape == (1, *size)
        assert result["labels"].shape == size


def test_eval_is_the_centre_of_the_covering_view() -> None:
    result = eval_transform((12, 10))(frame())
    assert torch.equal(result["labels"], frame()["labels"][:, 3:13])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RandomCrop((0, 4)),
            r"RandomCrop: expected size \(height, width\) of two whole numbers > 0, got \(0, 4\)",
        ),
        (lambda: Resize((4,)), r"Resize: expected size .*, got \(4,\)"),
        (lambda: CenterCrop((4.0, 4)), r"CenterCrop: expected size .*, got \(4\.0, 4\)"),  # type: ignore[list-item]  # wrong on purpose
        (
            lambda: RandomScale((1.5, 1.0)),
            r"RandomScale: expected scale \(low, high\) with 0 < low <= high, got \(1\.5",
        ),
        (lambda: RandomHorizontalFlip(1.5), r"RandomHorizontalFlip: expected p in \[0, 1\], got 1\.5"),
        (lambda: ColorJitter(1.5), r"ColorJitter: expected strength in \[0, 1\], got 1\.5"),
        (lambda: ColorJitter(0.1, (0.0, 1.0)), "ColorJitter: expected channel_gain"),
        (
            lambda: train_transform((4, 4), scale=(0.5, 1.0)),
            "train_transform: expected scale >= 1, so that the crop fits",
        ),
    ],
)
def test_wrong_options_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_repr_names_the_options() -> None:
    assert repr(eval_transform((4, 6))) == "Compose([Resize((4, 6), cover=True), CenterCrop((4, 6))])"
