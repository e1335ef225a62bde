"""What SynergyNet takes as options and images, and what it refuses in one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.networks import Pyramid, small

from depthattn import SynergyNet


def test_options_from_numpy_are_stored_as_numbers() -> None:
    model = SynergyNet("resnet18", 3, decoder_channels=np.array([8, 4]), output_stride=np.int64(16))  # type: ignore[arg-type]
    plain = SynergyNet("resnet18", 3, decoder_channels=(8, 4), output_stride=16)
    assert json.dumps(model.config) == json.dumps(plain.config)


@pytest.mark.parametrize(
    ("image", "error", "reason"),
    [
        (torch.rand(3, 64, 64), ValueError, r"expected image of shape \(B, 3, H, W\), got \(3, 64, 64\)"),
        (torch.rand(1, 1, 64, 64), ValueError, r"expected image of shape \(B, 3, H, W\), got \(1, 1, 64, 64\)"),
        (torch.rand(1, 3, 31, 64), ValueError, "expected H and W >= 32, got 31x64"),
        (torch.rand(1, 3, 64, 31), ValueError, "expected H and W >= 32, got 64x31"),
        (
            torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
            TypeError,
            "expected image in floating point, .* got torch.uint8",
        ),
        ([[0.0]], TypeError, "expected image to be a Tensor, got list"),
    ],
)
def test_images_that_do_not_fit(image: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=f"SynergyNet: {reason}"):
        small()(image)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_classes": 0}, "expected a finite num_classes >= 1, got 0"),
        ({"decoder_channels": ()}, r"expected decoder_channels to be positive integers, got \(\)"),
        ({"decoder_channels": (8, 0)}, r"expected decoder_channels to be positive integers, got \(8, 0\)"),
        ({"decoder_channels": (8, True)}, "expected decoder_channels to be positive integers"),
        ({"decoder_channels": (8, 4.0)}, "expected decoder_channels to be positive integers"),
        ({"upsample_semantics": "never"}, "expected upsample_semantics as one of always, eval, got 'never'"),
        ({"output_stride": 4}, "expected output_stride as one of 8, 16, 32, got 4"),
        (
            {"encoder": Pyramid((32,)), "encoder_skips": True},
            r"expected an encoder with a map of the stride of a decoder level for encoder_skips=True, got strides "
            r"\(32,\) and 4 levels",
        ),
        ({"sharing": "pixel"}, "expected sharing to be 'scalar', 'channel' or None, got 'pixel'"),
    ],
)
def test_option_values_that_do_not_fit(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"(SynergyNet|ResNet): {reason}"):
        SynergyNet(**{"encoder": "resnet18", **options})


@pytest.mark.parametrize(
    "options", [{"num_classes": 4.5}, {"num_classes": "40"}, {"up_skip": "yes"}, {"encoder_skips": 1}]
)
def test_option_types_that_do_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"SynergyNet: expected {next(iter(options))} as"):
        SynergyNet("resnet18", **options)
