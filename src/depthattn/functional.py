"""The five operations, stateless: check the arguments, run the operation, reduce.

The arithmetic and the accumulation are in float32 (float64 where an input is float64), whatever the storage
dtype of the inputs, and the reduced losses have that dtype. No function changes an argument or waits for the
device.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from depthattn.ops import checks, feature_checks
from depthattn.ops.backend import resolve, resolve_layer
from depthattn.ops.depth_aware import DEPTH_AWARE
from depthattn.ops.depth_aware import reference as depth_aware_reference
from depthattn.ops.joint_gradient import JOINT_GRADIENT
from depthattn.ops.joint_gradient import reference as joint_gradient_reference
from depthattn.ops.lateral_sharing import shared
from depthattn.ops.maps import upsampled
from depthattn.ops.masking import promoted
from depthattn.ops.scale_shift import align_scale_shift
from depthattn.ops.semantic_focal import SEMANTIC_FOCAL
from depthattn.ops.semantic_focal import reference as semantic_focal_reference
from depthattn.ops.semantic_focal_upsample import SEMANTIC_FOCAL_UPSAMPLE, SemanticFocalUpsampleOptions
from depthattn.ops.semantic_focal_upsample import reference as semantic_focal_upsample_reference
from depthattn.ops.semi_dense_up_skip import merged

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
    mask: Tensor | None = None,
    *,
    distance: str = "smooth_l1",
    beta: float = 1.0,
    max_depth: float | None = None,
    log_offset: float = 1.0,
    detach_weight: bool = False,
    upsample: str | None = None,
    align_corners: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Depth-aware loss: a distance between depths, weighted by the depth and by the error of each pixel.

    .. math::

        L_{DA} = \frac{1}{N} \sum_i (\alpha_i + \lambda_i)\, l(d_i, g_i), \qquad
        \alpha_i = \min(g_i / m, 1), \qquad
        \lambda_i = 1 - \frac{\min(a_i, b_i)}{\max(a_i, b_i)}

    with :math:`a = \log(\max(d, 0) + o)`, :math:`b = \log(g + o)`, and :math:`\lambda` clamped to [0, 1], and 0 where
    :math:`\max(a, b) \le 0`. A pixel is valid if its target is finite and positive and ``mask`` allows it; N is the
    number of valid pixels.

    Args:
        pred: predicted depth d in metres, (B,1,H,W), (B,H,W) or (H,W), any strides. Zero and negative values are
            allowed and have a gradient towards the target.
        target: true depth g in metres, of the same size as ``pred`` up to the singleton channel; 0, negative, NaN
            or inf marks a missing pixel.
        mask: bool, of the size of ``target``, True = use the pixel; None uses every valid one.
        distance: ``"smooth_l1"``, :math:`e^2 / 2\beta` for :math:`|e| < \beta`, else :math:`|e| - \beta / 2`;
            ``"l1"``, :math:`|e|`; ``"l2"``, :math:`e^2`; or ``"berhu"``, :math:`|e|` for :math:`|e| \le c`, else
            :math:`(e^2 + c^2) / 2c`, with c a fifth of the image's largest valid error; :math:`e = d - g`.
        beta: error in metres where smooth L1 turns from quadratic to linear; only used by ``"smooth_l1"``.
        max_depth: m in metres (10 for NYU, 80 for KITTI); None takes the largest valid target of each image.
        log_offset: offset o in metres; 1 keeps :math:`\lambda` in [0, 1] at every depth. 0 is the formula as published,
            which leaves that range below one metre; here it is clamped.
        detach_weight: stop the gradient through :math:`\lambda`.
        upsample: ``"bilinear"`` resizes a prediction of another size to the size of the target; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"`` over the valid pixels of the batch, ``"per_image"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar; (B,) for ``"per_image"``; a map (B,H,W), zero at pixels that are not valid, for ``"none"``. Without
        a valid pixel the loss is exactly 0.

    Raises:
        ValueError: if shapes, devices or option values do not fit, or if ``target`` requires a gradient.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred`` only, exactly zero at pixels that are not valid, even where the prediction is NaN there.
        :math:`\alpha` has no gradient. :math:`\partial\lambda/\partial d` is :math:`b / (a^2 (d + o))` for d > g,
        :math:`-1 / (b (d + o))` for d < g, and 0 at d = g, at d <= 0 and where the clamp holds. c has no gradient.
        A NaN prediction at a valid pixel gives NaN, in the loss and in its own gradient. An infinite one gives an
        infinite loss, and the gradient of the distance times the weight.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, attention-driven loss. The offset, the clamp and ``max_depth``
        are choices of this library, where the formula of the paper is not defined or the paper gives none.

    Example:
        >>> import torch
        >>> from depthattn.functional import depth_aware_loss
        >>> pred = torch.tensor([[2.0, 4.0, 3.0]])
        >>> target = torch.tensor([[2.0, 8.0, 0.0]])  # the last pixel is a hole
        >>> depth_aware_loss(pred, target, max_depth=10.0, reduction="none")
        tensor([[[0.0000, 3.7363, 0.0000]]])
    """
    name = "depth_aware_loss"
    options = checks.depth_aware_options(name, distance, beta, max_depth, log_offset, detach_weight, reduction)
    upsample, align_corners = checks.upsample_options(name, upsample, align_corners)
    pred, target, mask = checks.depth_maps(name, pred, target, mask, upsample)
    pred = upsampled(pred, target, upsample, align_corners)
    if reduction == "none":
        state = depth_aware_reference.state(pred, target, mask, options)
        return depth_aware_reference.values(pred, target, mask, state, options)[0]
    return DEPTH_AWARE((pred, target, mask), options, resolve(pred.device))[0]


def joint_gradient_loss(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    labels: Tensor | None = None,
    semantics: Tensor | None = None,
    semantic_weight: float = 1.0,
    ignore_index: int = -100,
    upsample: str | None = None,
    align_corners: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Joint gradient loss: Sobel gradients of the prediction against those of true depth and of a semantic map.

    .. math::

        L_{JG} = L_g(d, g) + w\, L_g(d, s), \qquad
        L_g(a, b) = \frac{1}{N} \sum_i |S_h (a - b)|_i + |S_v (a - b)|_i

    :math:`S_h` is the Sobel kernel [[-1,0,1],[-2,0,2],[-1,0,1]], not normalised, and :math:`S_v` its transpose.
    There is no padding: a window counts if it lies inside the image and all its nine pixels do, and N is the
    number of windows, counted for each term on its own.

    Args:
        pred: predicted depth d in metres, (B,1,H,W), (B,H,W) or (H,W), any strides.
        target: true depth g in metres, of the same size up to the singleton channel; 0, negative, NaN or inf marks a
            missing pixel, and a window with a missing pixel is left out of the depth term.
        mask: bool, of the size of ``target``, True = use the pixel of ``target``. It does not mask the semantic term:
            to leave pixels out there, set their label to ``ignore_index`` or their float value to NaN.
        labels: s as integer class ids. Only windows inside one class count, where the term is
            :math:`|S_h d| + |S_v d|` and does not depend on the numbering of the classes. They need no valid target:
            the term also acts inside the holes of a sensor.
        semantics: s as a float map, taken literally, over windows of finite values. At most one of ``labels`` and
            ``semantics``; without both there is no semantic term.
        semantic_weight: weight w of the semantic term.
        ignore_index: the label of pixels without a class.
        upsample: ``"bilinear"`` resizes a prediction of another size to the size of the target; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"`` over the windows of the batch, each term over its own; ``"per_image"``; ``"sum"``, the sum
            of both terms over all windows; or ``"none"``.

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
        Jiao et al., "Look Deeper into Depth", ECCV 2018, joint gradient loss. How class ids are compared is a choice of
        this library.

    Example:
        >>> import torch
        >>> from depthattn.functional import joint_gradient_loss
        >>> pred = torch.arange(12.0).view(3, 4)  # slope 1 to the right, 4 downwards
        >>> target, labels = torch.ones(3, 4), torch.zeros(3, 4, dtype=torch.long)
        >>> joint_gradient_loss(pred, target, labels=labels)  # 8 * (1 + 4) per term
        tensor(80.)
    """
    name = "joint_gradient_loss"
    options = checks.joint_gradient_options(name, semantic_weight, ignore_index, reduction)
    upsample, align_corners = checks.upsample_options(name, upsample, align_corners)
    pred, target, mask = checks.depth_maps(name, pred, target, mask, upsample)
    labels, semantics = checks.semantic_maps(name, labels, semantics, target)
    pred = upsampled(pred, target, upsample, align_corners)
    if reduction == "none":
        return joint_gradient_reference.values(pred, target, mask, labels, semantics, options)
    return JOINT_GRADIENT((pred, target, mask, labels, semantics), options, resolve(pred.device))[0]


def semantic_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | Sequence[float] | None = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    normalize_by: str = "pixels",
    upsample: str | None = None,
    align_corners: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Semantic focal loss: softmax focal loss with a weight per class.

    .. math::

        L_{semF} = -\frac{1}{N} \sum_i w_{y_i} (1 - p_{i, y_i})^\gamma \log p_{i, y_i}, \qquad p = \mathrm{softmax}(z)

    Args:
        logits: z, (B,K,...) with any number of trailing axes, as torch's cross entropy takes them.
        target: integer class ids y, (B,...) or (B,1,...).
        weight: :math:`w`, (K,), a tensor or numbers, moved to the dtype of the arithmetic; None is 1 for every class.
        gamma: focusing exponent, >= 0: the larger it is, the less well-classified pixels weigh; 0 is cross entropy.
        ignore_index: the label of pixels that do not count.
        normalize_by: what ``"mean"`` and ``"per_image"`` divide by: ``"pixels"``, the number of pixels that count, or
            ``"weight"``, the sum of their class weights, as torch's cross entropy does.
        upsample: ``"bilinear"`` resizes logits (B,K,h,w) to the size (H,W) of the target, without ever holding logits
            of that size, except for ``reduction="none"``; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar; (B,) for ``"per_image"``; a map (B,...), zero at ignored pixels, for ``"none"``.
        Without a labelled pixel the loss is exactly 0.

    Raises:
        ValueError: if shapes, devices or option values do not fit, if ``weight`` requires a gradient, or if a label
            is outside [0, K) and not ``ignore_index``. On an accelerator the labels are only checked under
            :func:`depthattn.set_validation`; there a wrong label counts as ignored.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``logits`` only, exactly zero at ignored pixels whatever the logits there. Finite for saturated logits
        and for every gamma >= 0: :math:`1 - p_y` is summed from the other classes, never by subtraction. A logit of
        -inf excludes a class: at a pixel whose label it is, the loss is inf and the gradient is its limit
        :math:`w (p - e_y)`. A logit of +inf or NaN gives NaN in value and gradient of its pixel.

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
    options = checks.semantic_focal_options(name, gamma, ignore_index, normalize_by, reduction)
    upsample, align_corners = checks.upsample_options(name, upsample, align_corners)
    logits, target, weight = checks.focal_tensors(name, logits, target, weight, upsample)
    backend = resolve(logits.device)
    if upsample is not None and logits.shape[2:] != target.shape[1:]:
        resized = SemanticFocalUpsampleOptions.of(options, align_corners)
        if reduction == "none":
            return semantic_focal_upsample_reference.values(logits, target, weight, resized)[0]
        return SEMANTIC_FOCAL_UPSAMPLE((logits, target, weight), resized, backend)[0]
    pixels = (logits.flatten(2), target.flatten(1)) if logits.ndim > 2 else (logits.unsqueeze(2), target.unsqueeze(1))
    if reduction == "none":
        return semantic_focal_reference.values(*pixels, weight, options)[0].view(target.shape)
    return SEMANTIC_FOCAL((*pixels, weight), options, backend)[0]


def lateral_sharing(features: Sequence[Tensor], gates: Tensor) -> tuple[Tensor, ...]:
    r"""Lateral sharing: add to the features of each task a gated sum of the features of all tasks.

    .. math:: y_t = x_t + \sum_u G_{tu}\, x_u

    Args:
        features: T tensors (B,C,...) of one shape, one per task. Different dtypes are promoted as
            :func:`torch.promote_types` does.
        gates: G, (T,T) for one gate per pair of tasks or (T,T,C) for one per pair and channel. All zeros leave the
            features unchanged.

    Returns:
        T tensors with the shape and dtype of the features, whatever the dtype of the gates.

    Raises:
        ValueError: if the features differ in shape or device, or the gates do not fit them.
        TypeError: if an argument is not a floating-point tensor.

    Gradient:
        To the features and the gates. The operation is linear in each.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, lateral sharing unit, from two tasks to T.

    Example:
        >>> import torch
        >>> from depthattn.functional import lateral_sharing
        >>> depth, semantics = torch.ones(1, 1, 2), torch.full((1, 1, 2), 10.0)
        >>> lateral_sharing([depth, semantics], torch.tensor([[0.0, 0.5], [0.0, 0.0]]))
        (tensor([[[6., 6.]]]), tensor([[[10., 10.]]]))
    """
    features = feature_checks.sharing_tensors("lateral_sharing", features, gates)
    return shared(promoted(features), gates, resolve_layer(gates.device))


def semi_dense_up_skip(
    features: Sequence[Tensor], size: Sequence[int], *, mode: str = "bilinear", align_corners: bool = False
) -> Tensor:
    r"""Semi-dense up-skip: resize feature maps of any sizes to one size and add them up.

    .. math:: f_{out} = \sum_j \mathrm{resize}(f_j)

    Args:
        features: any number of maps (B,C,h_j,w_j) of one B, C and device, of any sizes. Different dtypes are promoted
            as :func:`torch.promote_types` does.
        size: (H, W) of the result in pixels.
        mode: ``"bilinear"`` or ``"nearest"`` (which is ``"nearest-exact"`` of PyTorch).
        align_corners: for ``"bilinear"``, as in :func:`torch.nn.functional.interpolate`.

    Returns:
        (B,C,H,W) in the dtype of the features; the sum is taken in float32 or wider.

    Raises:
        ValueError: if there is no feature, if they do not fit each other, or if an option value does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To every feature. The operation is linear; its backward pass sums in a fixed order.

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
    mode, align_corners = feature_checks.resize_options(name, mode, align_corners)
    features = feature_checks.pyramid(name, features)
    size = checks.image_size(name, size)
    return merged(promoted(features), size, mode, align_corners, resolve_layer(features[0].device))
