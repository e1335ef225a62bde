"""Faults in the depth-aware loss."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

MUTANTS = (
    Mutant("loss.py", "the kept gradient goes out without its scale",
           "gradients = [kept if several else _multiplied(kept, scales[0])]", "gradients = [kept]"),
    Mutant("loss.py", "one buffer is given away twice", "kept, ctx.kept = ctx.kept, None", "kept = ctx.kept"),
    Mutant("loss.py", "several terms go out without the gradient of the loss",
           "return gradients if outer is None else", "return gradients if True else"),
    Mutant("loss.py", "terms of a kept loss are taken for constants",
           "if torch.is_grad_enabled():\n                # The terms", "if False:\n                # The terms"),
    Mutant("registration.py", "a transform meets the operator that has no derivative",
           "if is_transformed(tensors):", "if False:"),
    Mutant("reduction/reference.py", "nothing counted divides by 0", "totals.masked_fill(totals == 0, 1)", "totals"),
    Mutant("depth_aware/pixels.h", "below the target lambda rises", "p < g ? T(-1) : T(0)", "p < g ? T(1) : T(0)"),
    Mutant("depth_aware/pixels.h", "one factor of lambda's slope is dropped",
           "p > g ? ratio : below", "p > g ? T(1) : below"),
    Mutant("depth_aware/pixels.h", "the logarithm's inner derivative is dropped",
           "(divisor * (depth + weights.offset))", "divisor"),
    Mutant("depth_aware/pixels.h", "the slope of e^2 is e", "direction = T(2) * error;", "direction = error;"),
    Mutant("depth_aware/pixels.h", "the slope of smooth L1 is not divided by beta",
           "const T steep = error * over_knee;", "const T steep = error;"),
    Mutant("depth_aware/pixels.h", "an infinite distance times no slope is NaN",
           "(through != T(0) ? product : T(0))", "product"),
    Mutant("depth_aware/cpu.cpp", "every image gets the first one's scale",
           "number_at(a.scales, image)", "number_at(a.scales, 0)"),
    Mutant("depth_aware/cpu.cpp", "every image gets the first one's maximum",
           "number_at(a.state, 0, image)", "number_at(a.state, 0, 0)"),
    Mutant("depth_aware/cpu.cpp", "berHu turns at the largest error",
           "knees[image] = wrong / 5", "knees[image] = wrong"),
    Mutant("depth_aware/triton.py", "the slope is read off a lambda that has rounded to 1",
           "tl.where(slopes, slope, 0.0)", "tl.where(slopes & (lambda_ < 1), slope, 0.0)"),
    Mutant("triton_utils.py", "a depth map's mask is forgotten",
           "valid = valid & (load_map(mask, mask_strides, image, row, column, inside) != 0)", "pass"),
    Mutant("depth_aware/triton.py", "every image gets the first one's scale",
           "tl.load(scale + image * scale_stride)", "tl.load(scale)"),
    Mutant("depth_aware/triton.py", "the slope of |e| is e", "return size, sign(e)", "return size, e"),
    Mutant("depth_aware/triton.py", "the slope of e^2 is e", "return e * e, 2.0 * e", "return e * e, e"),
    Mutant("depth_aware/triton.py", "the term through lambda is flipped",
           "slope += tl.where(weight", "slope -= tl.where(weight"),
)  # fmt: skip
