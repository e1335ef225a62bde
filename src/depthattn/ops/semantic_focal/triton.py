"""The semantic focal loss as Triton kernels: logits are read once forward and, up to 128 classes, once backward.

A program holds a tile of classes and pixels in registers and reduces over the classes there. More classes are walked
through in chunks: forward with a running maximum and sum, backward twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import SemanticFocalOptions, reference
from depthattn.ops.semantic_focal.labels import check_labels
from depthattn.ops.semantic_focal.pixels import (
    finite,
    join,
    power,
    read_labels,
    read_weights,
    slope_of_label,
    softmax_of_label,
)
from depthattn.ops.triton_utils import fold, launch, wide_type

# Elements of a tile: 32 for each of 256 threads, all loads in flight at once, with registers to spare for the
# exponentials beside the logits. At 40 classes that is 128 pixels, 512 bytes of each class in a row. More than 128
# classes in a tile would make those rows shorter than a warp. Smaller tiles where registers run out: for numbers twice
# as wide, for a loop over chunks, and for classes beside each other in memory, where each thread sees more pixels.
_ELEMENTS = 8192
_WARPS = 8
_CLASSES = 128


@triton.jit
def _logits_tile(logits, strides, image, first, pixel, pixels, classes, CHUNK: tl.constexpr, WIDE: tl.constexpr):
    """Logits of CHUNK classes, -inf beyond the last one, and the numbers of the classes."""
    number = first + tl.arange(0, CHUNK)
    inside = (number < classes)[:, None] & (pixel < pixels)[None, :]
    address = logits + image * strides[0] + number.to(tl.int64)[:, None] * strides[1] + pixel[None, :] * strides[2]
    z = tl.load(address, mask=inside, other=0).to(WIDE)
    return tl.where((number < classes)[:, None], z, float("-inf")), number


@triton.jit
def _locate(pixels, PIXELS: tl.constexpr):
    """The image and pixels of this program, 64 bits wide."""
    blocks = tl.cdiv(pixels, PIXELS)
    program = tl.program_id(0).to(tl.int64)
    return program // blocks, (program % blocks) * PIXELS + tl.arange(0, PIXELS)


@triton.jit
def _over_classes(
    logits, target, logits_strides, target_strides, image, pixel, pixels, classes, ignore_index,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """Labels, and what ``join`` makes of all classes."""
    labels = target + image * target_strides[0] + pixel * target_strides[1]
    y = read_labels(labels, pixel < pixels, classes, ignore_index)
    # Each name starts with values of its own: the compiler may drop a name from a loop that starts as another one.
    high = tl.full([PIXELS], float("-inf"), WIDE)
    others = tl.zeros([PIXELS], WIDE)
    own = tl.zeros([PIXELS], WIDE)
    for chunk in range(CHUNKS):
        z, number = _logits_tile(logits, logits_strides, image, chunk * CHUNK, pixel, pixels, classes, CHUNK, WIDE)
        high, others, own = join(high, others, own, z, number[:, None] == y[None, :])
    return y, high, others, own


@triton.jit
def _forward_kernel(
    logits, target, weight, logits_strides, target_strides, weight_stride, sums, counts,
    pixels, classes, ignore_index,
    GAMMA: tl.constexpr, BY_WEIGHT: tl.constexpr, WIDE: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    image, pixel = _locate(pixels, PIXELS)
    y, high, others, own = _over_classes(
        logits, target, logits_strides, target_strides, image, pixel, pixels, classes, ignore_index,
        WIDE, CHUNK, CHUNKS, PIXELS,
    )  # fmt: skip
    _, q, log_p = softmax_of_label(high, others, own)
    w = read_weights(weight, weight_stride, y, WIDE)
    value = tl.where(y >= 0, -w * power(q, GAMMA) * log_p, 0.0)
    program = tl.program_id(0).to(tl.int64)
    tl.store(sums + program, tl.sum(value))
    tl.store(counts + program, tl.sum(w if BY_WEIGHT else tl.where(y >= 0, 1.0, 0.0)))


@triton.jit
def _backward_kernel(
    scale, scale_stride, logits, target, weight, logits_strides, target_strides, weight_stride, gradient,
    pixels, classes, ignore_index,
    GAMMA: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    image, pixel = _locate(pixels, PIXELS)
    y, high, others, own = _over_classes(
        logits, target, logits_strides, target_strides, image, pixel, pixels, classes, ignore_index,
        WIDE, CHUNK, CHUNKS, PIXELS,
    )  # fmt: skip
    p, q, log_p = softmax_of_label(high, others, own)
    slope = -read_weights(weight, weight_stride, y, WIDE) * slope_of_label(p, q, log_p, GAMMA)
    slope *= tl.load(scale + image * scale_stride)
    shift = finite(high)
    over = 1.0 / (tl.exp(own - shift) + others)
    for chunk in range(CHUNKS):
        # With a single chunk this load is the one above, and the compiler keeps the tile in registers.
        z, number = _logits_tile(logits, logits_strides, image, chunk * CHUNK, pixel, pixels, classes, CHUNK, WIDE)
        mine = number[:, None] == y[None, :]
        value = slope[None, :] * tl.where(mine, q[None, :], -tl.exp(z - shift[None, :]) * over[None, :])
        value = tl.where((y >= 0)[None, :], value, 0.0)
        inside = (number < classes)[:, None] & (pixel < pixels)[None, :]
        address = gradient + (image * classes + number[:, None]) * pixels + pixel[None, :]
        tl.store(address, value.to(gradient.dtype.element_ty), mask=inside)


def _shape(logits: Tensor) -> dict[str, int]:
    _, classes, pixels = logits.shape
    chunk = min(_CLASSES, triton.next_power_of_2(classes))
    elements = _ELEMENTS
    if compute_dtype(logits) == torch.float64 or classes > chunk:
        elements //= 2
    if logits.stride(1) < logits.stride(2):
        elements //= 4
    return {
        "CHUNK": chunk,
        "CHUNKS": triton.cdiv(classes, chunk),
        "PIXELS": min(elements // chunk, triton.next_power_of_2(max(pixels, 1))),
        "num_warps": _WARPS,
    }


def keeps_gradient(logits: Tensor, *_: object) -> bool:
    """A backward pass from the logits writes it once, already scaled."""
    return False


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: SemanticFocalOptions,
    scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, None]:
    """Sums and what they are divided by, (1,B), and no state; the gradient is always left to :func:`backward`."""
    check_labels(target, logits.shape[1], options.ignore_index)
    batch, classes, pixels = logits.shape
    wide = compute_dtype(logits)
    shape = _shape(logits)
    blocks = triton.cdiv(pixels, shape["PIXELS"])
    partials = [logits.new_empty(batch, blocks, dtype=wide) for _ in range(2)]
    launch(
        _forward_kernel, batch * blocks, logits, logits, target, weight, logits.stride(), target.stride(),
        0 if weight is None else weight.stride(0), *partials, pixels, classes, options.ignore_index,
        **constants_of(options, wide), **shape,
    )  # fmt: skip
    sums, counts = logits.new_empty(2, 1, batch, dtype=torch.float64)
    fold(partials, (sums, counts))
    return sums, counts, reference.state(logits, target, weight, options), None


def backward(
    scales: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    state: Tensor,
    options: SemanticFocalOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """The gradient to ``logits``, computed from them and written once."""
    batch, classes, pixels = logits.shape
    gradient = logits.new_empty(logits.shape)
    shape = _shape(logits)
    launch(
        _backward_kernel, batch * triton.cdiv(pixels, shape["PIXELS"]), logits, scales, scales.stride(1),
        logits, target, weight, logits.stride(), target.stride(), 0 if weight is None else weight.stride(0), gradient,
        pixels, classes, options.ignore_index, GAMMA=options.gamma, WIDE=wide_type(compute_dtype(logits)), **shape,
    )  # fmt: skip
    return [gradient]


def constants_of(options: Any, wide: torch.dtype) -> dict[str, Any]:
    """What a forward kernel is compiled for."""
    return {"GAMMA": options.gamma, "BY_WEIGHT": options.normalize_by == "weight", "WIDE": wide_type(wide)}
