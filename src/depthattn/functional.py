"""The five operations, stateless: check the arguments, run the operation, reduce.

The arithmetic and the accumulation are in float32 (float64 where an input is float64), whatever the storage
dtype of the inputs, and the reduced losses have that dtype. No function changes an argument or waits for the
device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthattn.ops import checks
from depthattn.ops.backend import exporting, keeps_gradient, resolve
from depthattn.ops.depth_aware import DepthAware
from depthattn.ops.depth_aware import reference as depth_aware_reference
from depthattn.ops.joint_gradient import JointGradient
from depthattn.ops.joint_gradient import reference as joint_gradient_reference
from depthattn.ops.lateral_sharing import LateralSharing
from depthattn.ops.lateral_sharing import reference as lateral_sharing_reference
from depthattn.ops.library import run_forward
from depthattn.ops.maps import padded_to_window, upsampled
from depthattn.ops.masking import compute_dtype, image_maximum
from depthattn.ops.reduce import reduce_sums
from depthattn.ops.scale_shift import align_scale_shift
from depthattn.ops.semantic_focal import SEMANTIC_FOCAL
from depthattn.ops.semantic_focal_upsample import SEMANTIC_FOCAL_UPSAMPLE
from depthattn.ops.semi_dense_up_skip import SemiDenseUpSkip
from depthattn.ops.semi_dense_up_skip import reference as semi_dense_up_skip_reference

__all__ = [
    "align_scale_shift",
    "depth_aware_loss",
    "joint_gradient_loss",
    "lateral_sharing",
    "semantic_focal_loss",
    "semi_dense_up_skip",
]


def depth_aware_loss(
    pred: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    distance: str = "smooth_l1",
    beta: float = 1.0,
    max_depth: float | None = None,
    log_offset: float = 1.0,
    detach_weight: bool = False,
    upsample: str | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Weight a depth distance by how far a pixel is and by how wrong the prediction is there.

    .. math::

        L_{DA} = \frac{1}{N} \sum_i (\alpha_i + \lambda_i)\, l(d_i, g_i), \qquad
        \alpha_i = \min(g_i / m, 1), \qquad
        \lambda_i = 1 - \frac{\min(a_i, b_i)}{\max(a_i, b_i)}

    with :math:`a = \log(\max(d, 0) + o)`, :math:`b = \log(g + o)`, :math:`\lambda` clamped to [0, 1] and 0 where
    :math:`\max(a, b) \le 0`. A pixel counts if its target is finite and positive and ``mask`` allows it; N is the
    number of those pixels.

    Args:
        pred: predicted depth d in metres, (B,1,H,W), (B,H,W) or (H,W), any strides. Zero and negative values are
            legal: the distance pulls them back.
        target: true depth g in metres, of the same size as ``pred`` up to the singleton channel; 0, negative, NaN
            or inf marks a missing pixel.
        mask: bool, True = use the pixel; None uses every valid one.
        distance: ``"smooth_l1"``, :math:`e^2 / 2\beta` for :math:`|e| < \beta`, else :math:`|e| - \beta / 2`;
            ``"l1"``, :math:`|e|`; or ``"l2"``, :math:`e^2`; with :math:`e = d - g`.
        beta: where smooth L1 turns from square to linear, in metres; only used by ``"smooth_l1"``.
        max_depth: m in metres (10 for NYU, 80 for KITTI); None takes the largest valid target of each image.
        log_offset: o. 1 keeps :math:`\lambda` in [0, 1] at every depth; 0 is the formula as printed, which leaves
            that range below one metre and is clamped back to it.
        detach_weight: stop the gradient through :math:`\lambda`, so that it only weights.
        upsample: ``"bilinear"`` resizes a prediction of another size to the target's first, without aligned corners,
            as decoders that predict at half or quarter size want it.
        reduction: ``"mean"`` over the valid pixels of the batch, ``"per_image"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar; (B,) for ``"per_image"``; a map (B,H,W), zero at pixels that do not count, for ``"none"``. Without
        a valid pixel the loss is exactly 0.

    Raises:
        ValueError: if shapes, devices or option values do not fit, or if ``target`` requires a gradient.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred`` only, exactly zero at pixels that do not count, even where the prediction is NaN there.
        :math:`\alpha` carries none. :math:`\partial\lambda/\partial d` is :math:`b / (a^2 (d + o))` for d > g,
        :math:`-1 / (b (d + o))` for d < g, and 0 at d = g, at d <= 0 and where the clamp holds.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, attention-driven loss; the offset, the clamp and the
        normaliser are this library's choices where the paper is unsafe or silent.

    Example:
        >>> import torch
        >>> from depthattn.functional import depth_aware_loss
        >>> pred = torch.tensor([[2.0, 4.0, 3.0]])
        >>> target = torch.tensor([[2.0, 8.0, 0.0]])  # the last pixel is a hole
        >>> depth_aware_loss(pred, target, max_depth=10.0, reduction="none")
        tensor([[[0.0000, 3.7363, 0.0000]]])
    """
    name = "depth_aware_loss"
    checks.check_reduction(name, reduction)
    checks.depth_aware_options(name, distance, beta, max_depth, log_offset, detach_weight, upsample)
    pred, target, mask = checks.depth_maps(name, pred, target, mask, upsample)
    pred = upsampled(pred, target, upsample)
    if reduction == "none":
        dtype = compute_dtype(pred, target)
        norm = (
            image_maximum(target, mask).to(dtype)
            if max_depth is None
            else pred.new_full((pred.shape[0],), max_depth, dtype=dtype)
        )
        return depth_aware_reference.per_pixel(pred, target, mask, norm, distance, beta, log_offset, detach_weight)
    backend = resolve(pred.device)
    keep = torch.is_grad_enabled() and pred.requires_grad and keeps_gradient(backend, pred.dtype)
    sums, counts, *_ = run_forward(
        DepthAware, pred, target, mask, distance, beta, max_depth, log_offset, detach_weight, keep, backend
    )
    return reduce_sums(sums, counts, reduction)


def joint_gradient_loss(
    pred: Tensor,
    target: Tensor,
    semantics: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    semantic_weight: float = 1.0,
    ignore_index: int = -100,
    upsample: str | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Compare Sobel gradients of the predicted depth with those of the true depth and of a semantic map.

    .. math::

        L_{JG} = L_g(d, g) + w\, L_g(d, s), \qquad
        L_g(a, b) = \frac{1}{N} \sum_i |S_h (a - b)|_i + |S_v (a - b)|_i

    :math:`S_h` is the Sobel kernel [[-1,0,1],[-2,0,2],[-1,0,1]], not normalised, and :math:`S_v` its transpose.
    There is no padding: a window counts if it lies inside the image and all its nine pixels do, and N is the
    number of windows, counted for each term on its own.

    Args:
        pred: predicted depth d in metres, (B,1,H,W), (B,H,W) or (H,W), any strides.
        target: true depth g in metres, of the same size up to the singleton channel; 0, negative, NaN or inf marks a
            missing pixel, and a window that touches one is left out of the depth term.
        semantics: s. An integer map counts only the windows inside one class, where the term does not depend on
            the numbering of the classes: there it is :math:`|S_h d| + |S_v d|`. A float map is taken literally, over
            windows of finite values. None leaves the term out. Valid targets are not needed: the term also shapes the
            depth inside the holes of a sensor.
        mask: bool, True = use the pixel of ``target``. It speaks of the target: to leave pixels out of the semantic
            term, set their label to ``ignore_index`` or their float value to NaN.
        semantic_weight: w.
        ignore_index: the label that stands for no class.
        upsample: ``"bilinear"`` resizes a prediction of another size to the target's first, without aligned corners.
        reduction: ``"mean"`` over the windows of the batch, each term by its own number; ``"per_image"``; ``"sum"``,
            both terms plainly added; or ``"none"``.

    Returns:
        A scalar; (B,) for ``"per_image"``; for ``"none"`` a map (B,H,W) with each window's value at its centre and
        zeros on the border. A term without a window is exactly 0.

    Raises:
        ValueError: if shapes, devices or option values do not fit, or if ``target`` requires a gradient.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred``, and to a float ``semantics`` that requires one; exactly zero at pixels that no counted window
        uses, even where the prediction is NaN there. :math:`|x|` has slope 0 at x = 0.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, joint gradient loss; the reading of class ids is this
        library's choice.

    Example:
        >>> import torch
        >>> from depthattn.functional import joint_gradient_loss
        >>> pred = torch.arange(12.0).view(3, 4)  # a ramp: slope 1 to the right, 4 downwards
        >>> labels = torch.zeros(3, 4, dtype=torch.long)
        >>> joint_gradient_loss(pred, torch.ones(3, 4), labels)  # 8 * (1 + 4) for each term
        tensor(80.)
    """
    name = "joint_gradient_loss"
    checks.check_reduction(name, reduction)
    checks.joint_gradient_options(name, semantic_weight, ignore_index, upsample)
    pred, target, mask = checks.depth_maps(name, pred, target, mask, upsample)
    if semantics is not None:
        semantics = checks.semantic_maps(name, semantics, target)
    pred = upsampled(pred, target, upsample)
    height, width = pred.shape[1:]
    pred, target, mask, semantics = padded_to_window(pred, target, mask, semantics, ignore_index)
    if reduction == "none":
        values = joint_gradient_reference.per_pixel(pred, target, mask, semantics, semantic_weight, ignore_index)
        return values[:, :height, :width]
    backend = resolve(pred.device)
    differentiated = pred.requires_grad or (semantics is not None and semantics.requires_grad)
    keep = torch.is_grad_enabled() and differentiated and keeps_gradient(backend, pred.dtype)
    depth, depth_windows, semantic, semantic_windows, _ = run_forward(
        JointGradient, pred, target, mask, semantics, ignore_index, keep, backend
    )
    return reduce_sums(depth, depth_windows, reduction) + semantic_weight * reduce_sums(
        semantic, semantic_windows, reduction
    )


def semantic_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    normalize_by: str = "pixels",
    upsample: str | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Softmax focal loss with a weight per class.

    .. math::

        L_{semF} = -\frac{1}{N} \sum_i w_{y_i} (1 - p_{i, y_i})^\gamma \log p_{i, y_i}, \qquad p = \mathrm{softmax}(z)

    Args:
        logits: z, (B,K,...) with any number of trailing axes, as torch's cross entropy takes them.
        target: integer class ids y, (B,...).
        weight: :math:`w`, (K,), moved to the dtype of the arithmetic; None is 1 for every class.
        gamma: how strongly well-classified pixels fade; 0 is cross entropy.
        ignore_index: the label of pixels that do not count.
        normalize_by: what ``"mean"`` and ``"per_image"`` divide by: ``"pixels"``, the number of pixels that count, or
            ``"weight"``, the sum of their class weights, as torch's cross entropy does.
        upsample: ``"bilinear"`` takes logits (B,K,h,w) to the size (H,W) of the target first, without aligned
            corners. They never exist at that size, but for ``reduction="none"``.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar; (B,) for ``"per_image"``; a map shaped like ``target``, zero at ignored pixels, for ``"none"``.
        Without a labelled pixel the loss is exactly 0.

    Raises:
        ValueError: if shapes, devices or option values do not fit, if ``weight`` requires a gradient, or if a label
            is outside [0, K) and not ``ignore_index``. On an accelerator the labels are only checked under
            :func:`depthattn.set_validation`; there a wrong label counts as ignored.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``logits`` only, exactly zero at ignored pixels whatever the logits there. Finite for saturated logits
        and for every gamma >= 0: :math:`1 - p_y` is summed from the other classes, never by subtraction.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, semantic focal loss; after Lin et al., "Focal Loss for
        Dense Object Detection", ICCV 2017, with a softmax in place of the sigmoid.

    Example:
        >>> import torch
        >>> from depthattn.functional import semantic_focal_loss
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])  # two pixels, two classes
        >>> semantic_focal_loss(logits, torch.tensor([0, -100]), gamma=0.0)
        tensor(0.1269)
    """
    name = "semantic_focal_loss"
    checks.check_reduction(name, reduction)
    checks.semantic_focal_options(name, gamma, ignore_index, normalize_by, upsample)
    checks.focal_tensors(name, logits, target, weight, upsample)
    operation = SEMANTIC_FOCAL
    shape = target.shape
    if upsample is not None and logits.shape[2:] != target.shape[1:]:
        operation = SEMANTIC_FOCAL_UPSAMPLE
    elif logits.ndim == 2:
        logits, target = logits.unsqueeze(2), target.unsqueeze(1)
    else:
        logits, target = logits.flatten(2), target.flatten(1)
    if reduction == "none":
        labels = torch.ops.depthattn.checked_labels(target, logits.shape[1], ignore_index)
        return operation.per_pixel(logits, labels, weight, gamma, ignore_index).view(shape)
    backend = resolve(logits.device)
    differentiated = torch.is_grad_enabled() and logits.requires_grad
    keep = operation.keep(backend, logits.dtype) if differentiated else "nothing"
    sums, counts, weight_sums, _ = run_forward(
        operation.function, logits, target, weight, gamma, ignore_index, keep, backend
    )
    return reduce_sums(sums, counts if normalize_by == "pixels" else weight_sums, reduction)


def lateral_sharing(features: Sequence[Tensor], gates: Tensor) -> tuple[Tensor, ...]:
    r"""Let every task take a gated share of all tasks' features, on top of its own.

    .. math:: y_t = x_t + \sum_u G_{tu}\, x_u

    Args:
        features: T tensors (B,C,...) of one shape and dtype, one per task.
        gates: G, (T,T) for one gate per pair of tasks or (T,T,C) for one per pair and channel. All zeros leave the
            features unchanged.

    Returns:
        T tensors with the shape and dtype of the features.

    Raises:
        ValueError: if the features differ in shape, dtype or device, or the gates do not fit them.
        TypeError: if an argument is not a floating-point tensor.

    Gradient:
        To the features and the gates; linear in each, so there is no edge.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, lateral sharing unit, from two tasks to T.

    Example:
        >>> import torch
        >>> from depthattn.functional import lateral_sharing
        >>> depth, semantics = torch.ones(1, 1, 2), torch.full((1, 1, 2), 10.0)
        >>> lateral_sharing([depth, semantics], torch.tensor([[0.0, 0.5], [0.0, 0.0]]))
        (tensor([[[6., 6.]]]), tensor([[[10., 10.]]]))
    """
    checks.sharing_tensors("lateral_sharing", features, gates)
    if exporting():
        return tuple(lateral_sharing_reference.share(list(features), gates))
    shared: tuple[Tensor, ...] = run_forward(LateralSharing, resolve(gates.device), gates, *features)
    return shared


def semi_dense_up_skip(features: Sequence[Tensor], size: Sequence[int], *, mode: str = "bilinear") -> Tensor:
    r"""Resize feature maps of any sizes to one size and add them up.

    .. math:: f_{out} = \sum_j \mathrm{resize}(f_j)

    Args:
        features: maps (B,C,h_j,w_j) with one B, C, dtype and device, any number of them, of any sizes.
        size: (H, W) of the result in pixels.
        mode: ``"bilinear"``, without aligned corners, or ``"nearest"``, by pixel centres.

    Returns:
        (B,C,H,W) in the dtype of the features; the sum is taken in float32 or wider.

    Raises:
        ValueError: if there is no feature, if they do not fit each other, or if an option value does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To every feature; the operation is linear and its backward pass is its adjoint, without atomics.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, semi-dense up-skip connections.

    Example:
        >>> import torch
        >>> from depthattn.functional import semi_dense_up_skip
        >>> coarse, fine = torch.ones(1, 1, 1, 1), torch.arange(4.0).view(1, 1, 2, 2)
        >>> semi_dense_up_skip([coarse, fine], (2, 2))
        tensor([[[[1., 2.],
                  [3., 4.]]]])
    """
    name = "semi_dense_up_skip"
    checks.check_choice(name, "mode", mode, checks.RESIZE_MODES)
    checks.pyramid(name, features)
    height, width = checks.image_size(name, size)
    if exporting():
        return semi_dense_up_skip_reference.merge(list(features), (height, width), mode)
    merged: Tensor = run_forward(SemiDenseUpSkip, height, width, mode, resolve(features[0].device), *features)
    return merged
