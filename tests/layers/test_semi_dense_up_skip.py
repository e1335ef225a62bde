"""The semi-dense up-skip as a module: projections before the resize, smoothing after it, sizes, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from depthattn import SemiDenseUpSkip

CHANNELS = [8, 6, 4]


def levels(batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, c, h, w) for c, (h, w) in zip(CHANNELS, [(3, 4), (6, 8), (11, 15)], strict=True)]


@pytest.mark.parametrize("size", [(11, 15), (20, 9)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_it_is_project_resize_add_smooth(size: tuple[int, int], mode: str, kernel_size: int) -> None:
    skip = SemiDenseUpSkip(CHANNELS, 5, kernel_size=kernel_size, mode=mode)
    features = levels()
    how: dict[str, Any] = {"mode": "nearest-exact"} if mode == "nearest" else {"mode": mode, "align_corners": False}
    merged = torch.zeros(2, 5, *size)
    for feature, project in zip(features, skip.projections, strict=True):
        projected = conv2d(feature, project.weight, project.bias, padding=kernel_size // 2)
        merged = merged + interpolate(projected, size, **how)
    wanted = conv2d(merged, skip.smooth.weight, skip.smooth.bias, padding=1)
    torch.testing.assert_close(skip(features, size), wanted)


def test_aligned_corners_reach_the_resize() -> None:
    skip = SemiDenseUpSkip([4], 3, align_corners=True).double()
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    resized = interpolate(skip.projections[0](feature), (9, 13), mode="bilinear", align_corners=True)
    torch.testing.assert_close(skip([feature], (9, 13)), skip.smooth(resized))


def test_a_pointwise_projection_commutes_with_the_resize() -> None:
    skip = SemiDenseUpSkip([4], 3).double()
    feature = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    late = skip.projections[0](interpolate(feature, (9, 13), mode="bilinear", align_corners=False))
    torch.testing.assert_close(skip([feature], (9, 13)), skip.smooth(late))


def test_without_a_size_it_takes_the_largest_level_wherever_it_stands() -> None:
    features = levels()
    assert SemiDenseUpSkip(CHANNELS, 5)(features).shape == (2, 5, 11, 15)
    assert SemiDenseUpSkip(CHANNELS[::-1], 5)(features[::-1]).shape == (2, 5, 11, 15)


def test_all_levels_and_parameters_get_gradients() -> None:
    skip = SemiDenseUpSkip(CHANNELS, 5)
    features = [x.requires_grad_() for x in levels()]
    skip(features).square().sum().backward()
    for tensor in (*features, *skip.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_repr_names_the_options() -> None:
    skip = SemiDenseUpSkip((4, 2), 3, kernel_size=3, mode="nearest")
    assert skip.extra_repr() == "in_channels=(4, 2), out_channels=3, kernel_size=3, mode='nearest', align_corners=False"
    assert skip.extra_repr() in repr(skip)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda skip: pickle.loads(pickle.dumps(skip))])
def test_copies_compute_the_same_and_share_nothing(duplicate: Any) -> None:
    skip, features = SemiDenseUpSkip(CHANNELS, 5), levels()
    twin = duplicate(skip)
    before = twin(features)
    assert torch.equal(before, skip(features))
    with torch.no_grad():
        skip.smooth.weight.zero_()
    assert torch.equal(twin(features), before)


def test_state_dict_round_trip() -> None:
    skip, other, features = SemiDenseUpSkip(CHANNELS, 5), SemiDenseUpSkip(CHANNELS, 5), levels()
    other.load_state_dict(skip.state_dict())
    assert torch.equal(skip(features), other(features))


@pytest.mark.parametrize("size", [None, (12, 16)])
def test_compiles_without_a_graph_break(size: tuple[int, int] | None) -> None:
    torch._dynamo.reset()
    skip, features = SemiDenseUpSkip(CHANNELS, 5), levels()
    compiled = torch.compile(skip, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, size), skip(features, size))


def test_autocast_gives_half_precision() -> None:
    skip, features = SemiDenseUpSkip(CHANNELS, 5), levels()
    with torch.autocast("cpu", torch.bfloat16):
        out = skip(features)
    assert out.dtype == torch.bfloat16
    assert (out.float() - skip(features)).norm() < 0.02 * skip(features).norm()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([], 4), {}, ValueError, "channels of at least one level, got none"),
        ((4, 4), {}, TypeError, "in_channels as one int per level, got 4"),
        (([4, 0], 4), {}, ValueError, r"in_channels\[1\] >= 1, got 0"),
        (([4, 2.0], 4), {}, TypeError, r"in_channels\[1\] as an int, got float"),
        (([4], -1), {}, ValueError, "out_channels >= 1, got -1"),
        (([4], 4), {"kernel_size": 2}, ValueError, "odd kernel_size >= 1, got 2"),
        (([4], 4), {"mode": "nearest", "align_corners": True}, ValueError, 'mode="bilinear" for align_corners=True'),
        (([4], 4), {"mode": "bicubic"}, ValueError, "mode as one of bilinear, nearest, got 'bicubic'"),
    ],
)
def test_options_that_do_not_fit(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"SemiDenseUpSkip: expected .*{message}"):
        SemiDenseUpSkip(*arguments, **options)


def test_features_that_do_not_fit() -> None:
    skip, features = SemiDenseUpSkip(CHANNELS, 5), levels()
    with pytest.raises(ValueError, match="SemiDenseUpSkip: expected 3 features, got 2"):
        skip(features[:2])
    with pytest.raises(ValueError, match=r"features\[0\] of shape \(B,8,h,w\), got \(2, 4, 11, 15\)"):
        skip(features[::-1])
    with pytest.raises(ValueError, match=r"fit each other, got \(2, 5, 3, 4\) and features\[1\] \(1, 5, 6, 8\)"):
        skip([features[0], features[1][:1], features[2]])
    with pytest.raises(TypeError, match=r"features\[2\] in float16, bfloat16, float32 or float64, got torch.int64"):
        skip([*features[:2], features[2].long()])
    with pytest.raises(ValueError, match=r"size \(H, W\) of at least one pixel each, got \(0, 4\)"):
        skip(features, (0, 4))
