"""The formula of the semantic focal loss at a pixel, as parts of Triton kernels.

The classes of a tile lie along its first axis; the others, any number of them, are pixels.
See docs/derivations/semantic_focal.md.
"""

from __future__ import annotations

import triton
import triton.language as tl

from depthattn.ops.triton_utils import log1p


@triton.jit
def read_labels(address, inside, classes, ignore_index):
    """Labels, -1 where they do not name a class or are ignored, so that nothing else is ever an address."""
    y = tl.load(address, mask=inside, other=0).to(tl.int64)
    valid = inside & (y >= 0) & (y < classes) & (y != ignore_index)
    # Compared with each class: numbers half as wide take half of the registers.
    return tl.where(valid, y, -1).to(tl.int32)


@triton.jit
def read_weights(weight, weight_stride, y, WIDE: tl.constexpr):
    if weight is None:
        w = tl.where(y >= 0, 1.0, 0.0).to(WIDE)
    else:
        w = tl.load(weight + y * weight_stride, mask=y >= 0, other=0).to(WIDE)
    return w


@triton.jit
def finite(high):
    """What a largest logit of -inf is replaced by where it is subtracted."""
    return tl.where(high == float("-inf"), 0.0, high)


@triton.jit
def join(high, others, own, z, mine):
    """The running maximum, the sum of the other classes relative to it, and the label's logit, with a tile joined in.

    A NaN among the logits reaches a sum; a maximum would drop it.
    """
    top = tl.maximum(high, tl.max(z, 0))
    shift = finite(top)
    rest = tl.where(mine, 0.0, tl.exp(z - tl.expand_dims(shift, 0)))
    others = others * tl.exp(high - shift) + tl.sum(rest, 0)
    return top, others, own + tl.sum(tl.where(mine, z, 0.0), 0)


@triton.jit
def softmax_of_label(high, others, own):
    """p, q = 1 - p and log p of the label, q from the other classes and log p from q where p is near 1."""
    shift = finite(high)
    e = tl.exp(own - shift)
    over = 1.0 / (e + others)
    likely = e >= others
    log_p = tl.where(likely, -log1p(others / tl.where(likely, e, 1.0)), own - shift - tl.log(e + others))
    return e * over, others * over, log_p


@triton.jit
def power(q, GAMMA: tl.constexpr):
    """q^gamma, without a logarithm where gamma is 0, 1 or 2."""
    if GAMMA == 0:
        result = tl.full(q.shape, 1.0, q.dtype)
    elif GAMMA == 1:
        result = q
    elif GAMMA == 2:
        result = q * q
    else:
        # A q of 0 gives 0 by way of exp(-inf).
        result = tl.exp(GAMMA * tl.log(q))
    return result


@triton.jit
def slope_of_label(p, q, log_p, GAMMA: tl.constexpr):
    """The derivative of q^gamma log p by log p, which is c in the derivation."""
    # log(p) / q -> -1 as q -> 0, and p log(p) -> 0 as p -> 0.
    ratio = tl.where(q > 0, log_p / tl.where(q > 0, q, 1.0), -1.0)
    return power(q, GAMMA) * (1.0 - GAMMA * tl.where(p > 0, p * ratio, 0.0))
