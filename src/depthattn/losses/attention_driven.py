"""The attention-driven loss: the three losses together, weighted by hand or by learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from depthattn.losses.depth_aware import DepthAwareLoss
from depthattn.losses.joint_gradient import JointGradientLoss
from depthattn.losses.semantic_focal import SemanticFocalLoss
from depthattn.ops import checks
from depthattn.ops.attention_depth import ATTENTION_DEPTH, AttentionDepthOptions
from depthattn.ops.backend import resolve
from depthattn.ops.maps import upsampled
from depthattn.ops.masking import compute_dtype


class AttentionDrivenLosses(NamedTuple):
    """The attention-driven loss and its parts.

    Attributes:
        total: the weighted sum, to differentiate: a scalar, or (B,) where the losses are ``"per_image"``. The other
            fields have the same shape.
        depth_aware: the unweighted depth-aware loss, detached, for the log.
        joint_gradient: the unweighted joint gradient loss, detached.
        semantic_focal: the unweighted semantic focal loss, detached.
    """

    total: Tensor
    depth_aware: Tensor
    joint_gradient: Tensor
    semantic_focal: Tensor


# By this name torch.export.save writes what a program returns.
pytree._register_namedtuple(AttentionDrivenLosses, serialized_type_name="depthattn.AttentionDrivenLosses")


class AttentionDrivenLoss(nn.Module):
    r"""Weighted sum of the depth-aware, the joint gradient and the semantic focal loss.

    .. math:: L = w_1 L_{DA} + w_2 L_{JG} + w_3 L_{semF}

    With ``weights="learned"`` each loss has a learned log-variance :math:`s`, which takes the place of its weight:

    .. math:: L = \sum_{j \in \{DA, JG\}} \tfrac{1}{2} (e^{-s_j} L_j + s_j) + e^{-s_3} L_{semF} + \tfrac{1}{2} s_3

    Both depth losses are computed in one pass: it reads prediction and target once and writes one gradient, where two
    calls write two and add them.

    Three losses with ``reduction="per_image"`` give one total per image, from the pixels of that image. The mean of
    these totals does not depend on how a batch is split over processes or accumulated steps.

    A loss without a valid pixel adds nothing to the total, nor to the gradient of its log-variance.

    Args:
        depth_aware: the loss on depth; None makes a ``DepthAwareLoss``.
        joint_gradient: the loss on depth gradients; None makes a ``JointGradientLoss``. It gets the labels, which
            ``semantic_weight=0`` ignores. This module reads the options of both depth losses; their ``forward`` is not
            called.
        semantic_focal: the loss on labels; None makes a ``SemanticFocalLoss``. A loss that is made here has the
            ``ignore_index``, ``upsample``, ``align_corners`` and ``reduction`` of those that are given.
        weights: three numbers >= 0 in the order above, or ``"learned"``, which adds the parameter ``log_variances``.
            The paper has 1, 1, 1; the joint gradient loss is six to nine times as steep as the depth-aware loss, so
            start with 1, 0.05, 1.

    Attributes:
        weights: the three numbers, or None where they are learned.
        log_variances: parameter (3,), 0 at the start, or None where the weights are fixed. Give it to the optimizer.
        depth_aware: the losses themselves, like ``joint_gradient`` and ``semantic_focal``; read when ``forward`` is
            called, so an option may be changed between steps.

    Shape:
        ``depth`` and ``depth_target`` (B,1,H,W), (B,H,W) or (H,W) in metres; ``semantics`` (B,K,H,W) logits;
        ``label_target`` (B,H,W) integer; ``mask`` like ``depth_target``, bool, True = use. Returns
        :class:`AttentionDrivenLosses`.

    Raises:
        ValueError: if the three losses do not reduce alike, to scalars or per image, if those that are given differ in
            an option that they must share (``ignore_index`` of the two that see labels, ``upsample`` and
            ``align_corners`` of the two that see depth), if the weights do not fit, if both targets are missing, or
            for the reasons of the three losses.
        TypeError: if an argument has the wrong type or dtype, or if a depth loss is of a class with a ``forward`` of
            its own.

    Gradient:
        Through ``total`` to ``depth``, ``semantics`` and the learned log-variances. The parts are detached.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, where the weights are 1. The learned weights are those of
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018.

    Example:
        >>> import torch
        >>> from depthattn import AttentionDrivenLoss, DepthAwareLoss
        >>> loss = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1, 0.05, 1))
        >>> depth, logits = torch.ones(2, 1, 8, 8), torch.zeros(2, 4, 8, 8)
        >>> no_depth = torch.zeros(2, 1, 8, 8)  # every pixel is missing
        >>> labels = torch.zeros(2, 8, 8, dtype=torch.long)
        >>> parts = loss(depth, logits, no_depth, labels)
        >>> float(parts.depth_aware), float(parts.total) == float(parts.semantic_focal)
        (0.0, True)
    """

    def __init__(
        self,
        depth_aware: DepthAwareLoss | None = None,
        joint_gradient: JointGradientLoss | None = None,
        semantic_focal: SemanticFocalLoss | None = None,
        *,
        weights: Sequence[float] | str = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        name = type(self).__name__
        given = (depth_aware, joint_gradient, semantic_focal)
        for depth_loss, kind in ((depth_aware, DepthAwareLoss), (joint_gradient, JointGradientLoss)):
            # One pass serves them by their options: a forward of another kind would never be called.
            if depth_loss is not None and getattr(type(depth_loss), "forward", None) is not kind.forward:
                got = type(depth_loss).__name__
                raise TypeError(f"{name}: expected a {kind.__name__} that computes as such, got {got}")
        if semantic_focal is not None and not (
            hasattr(semantic_focal, "ignore_index") and hasattr(semantic_focal, "reduction")
        ):
            got = type(semantic_focal).__name__
            raise TypeError(f"{name}: expected a SemanticFocalLoss with ignore_index and reduction, got {got}")
        stated = _stated(given)
        labels = {option: value for option, value in stated.items() if option == "ignore_index"}
        depth_side = {option: value for option, value in stated.items() if option != "ignore_index"}
        self.depth_aware = depth_aware or DepthAwareLoss(**depth_side)
        self.joint_gradient = joint_gradient or JointGradientLoss(**depth_side, **labels)
        self.semantic_focal = semantic_focal or SemanticFocalLoss(**depth_side, **labels)
        self._check_parts()
        self.weights: tuple[float, ...] | None
        if isinstance(weights, str):
            checks.check_choice(name, "weights", weights, ("learned",))
            self.weights = None
            self.log_variances = nn.Parameter(torch.empty(3))
        else:
            if not hasattr(weights, "__len__"):
                raise TypeError(f'{name}: expected three weights or "learned", got {type(weights).__name__}')
            if len(weights) != 3:
                raise ValueError(f'{name}: expected three weights or "learned", got {len(weights)}')
            for index, weight in enumerate(weights):
                checks.check_number(name, f"weights[{index}]", weight, at_least=0)
            self.weights = tuple(float(weight) for weight in weights)
            self.register_parameter("log_variances", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set learned log-variances to 0, as FSDP asks of what it finds on the meta device."""
        if self.log_variances is not None:
            nn.init.zeros_(self.log_variances)

    def forward(
        self,
        depth: Tensor,
        semantics: Tensor,
        depth_target: Tensor | None = None,
        label_target: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> AttentionDrivenLosses:
        """Compute the three losses and their weighted sum.

        Args:
            depth: predicted depth in metres, (B,1,H,W), (B,H,W) or (H,W).
            semantics: predicted logits (B,K,H,W), before the softmax.
            depth_target: true depth in metres, of the size of ``depth``; 0, negative, NaN or inf marks a missing pixel.
                None leaves both depth losses out.
            label_target: integer class ids (B,H,W), ``ignore_index`` where there is none. None leaves the semantic
                focal loss out, and the semantic term of the joint gradient loss.
            mask: bool, of the size of ``depth_target``, True = use its pixel; None uses every valid one.

        Returns:
            The weighted sum and, detached, its three parts.
        """
        if depth_target is None and label_target is None:
            raise ValueError(f"{type(self).__name__}: expected a depth_target or a label_target, got neither")
        self._check_parts()
        weights = self._weights(depth)
        depth_parts: list[Tensor] = []
        semantic_parts: list[Tensor] = []
        terms = []
        if depth_target is not None:
            total, attention, gradients = self._depth_losses(depth, depth_target, label_target, mask, weights)
            depth_parts = [attention, gradients]
            terms.append(total)
        if label_target is not None:
            semantic_parts = [self.semantic_focal(semantics, label_target)]
            terms.append(weights[2] * semantic_parts[0])
        absent = torch.zeros_like(terms[0])
        parts = (*(depth_parts or (absent, absent)), *(semantic_parts or (absent,)))
        if self.log_variances is not None:
            # Without a valid pixel a loss is exactly 0, and its log-variance would otherwise drift downwards forever.
            losses = torch.stack([part.detach().to(weights.dtype) for part in parts], -1)
            terms.append(torch.where(losses == 0, 0, 0.5 * self.log_variances).sum(-1))
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return AttentionDrivenLosses(total, *(part.detach() for part in parts))

    def _weights(self, like: Tensor) -> Tensor:
        """What the three losses are multiplied by, (3,)."""
        if self.weights is not None:
            return _filled(type(self).__name__, self.weights, like)
        depth_aware, joint_gradient, semantic_focal = torch.exp(-self.log_variances).unbind()
        # A density in metres has the factor 1/2 (a Gaussian's), a softmax has not.
        return torch.stack((0.5 * depth_aware, 0.5 * joint_gradient, semantic_focal))

    def depth_side(
        self, depth: Tensor, target: Tensor, labels: Tensor | None, mask: Tensor | None, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute both depth losses in one pass, for a step that computes its semantic loss elsewhere.

        Args:
            depth: prediction, as in the call of the module.
            target: true depth.
            labels: integer labels (B,H,W), or None for a joint gradient loss without its semantic term.
            mask: pixels of ``target`` to use, or None.
            weights: (3,), of which the first two weigh the two losses.

        Returns:
            The weighted sum, which has a gradient to ``depth`` and ``weights``, and each loss by itself, detached.
            Scalars, or (B,) where the losses are ``"per_image"``.
        """
        self._check_parts()
        return self._depth_losses(depth, target, labels, mask, weights)

    def _depth_losses(self, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
        name, first, second = type(self).__name__, self.depth_aware, self.joint_gradient
        own = checks.depth_aware_options(
            name, first.distance, first.beta, first.max_depth, first.log_offset, first.detach_weight, first.reduction
        )
        semantic_weight, ignore_index, reduction = checks.joint_gradient_options(
            name, second.semantic_weight, second.ignore_index, second.reduction
        )
        options = AttentionDepthOptions(
            distance=own.distance,
            beta=own.beta,
            max_depth=own.max_depth,
            log_offset=own.log_offset,
            detach_weight=own.detach_weight,
            ignore_index=ignore_index,
            depth_aware_reduction=own.reduction,
            joint_gradient_reduction=reduction,
        )
        resizing = checks.upsample_options(name, first.upsample, first.align_corners)
        return _depth_side(name, options, semantic_weight, resizing, *given)

    def _check_parts(self) -> None:
        """Check what the parts must share: an option may have been changed since they were given."""
        name, depth_losses = type(self).__name__, ("depth_aware", "joint_gradient")
        for option, parts in (
            ("upsample", depth_losses),
            ("align_corners", depth_losses),
            ("ignore_index", ("joint_gradient", "semantic_focal")),
        ):
            values = [getattr(getattr(self, part), option) for part in parts]
            if values[0] != values[1]:
                each = ", ".join(f"{part} {value!r}" for part, value in zip(parts, values, strict=True))
                raise ValueError(f"{name}: expected one {option} in all its parts, got {each}")
        reductions = [part.reduction for part in (self.depth_aware, self.joint_gradient, self.semantic_focal)]
        if set(reductions) != {"per_image"} and not set(reductions) <= {"mean", "sum"}:
            raise ValueError(
                f'{name}: expected three losses with reduction "mean" or "sum", or three with "per_image", got '
                f"{', '.join(map(repr, reductions))}"
            )

    def extra_repr(self) -> str:
        return f"weights={'learned' if self.weights is None else self.weights!r}"


def _stated(given: Sequence[nn.Module | None]) -> dict[str, Any]:
    """The options that a part which is made takes over: each from the first part that has it."""
    stated: dict[str, Any] = {}
    for part in reversed(given):
        # A loss of labels that is not this library's may mean something else by the names of the others.
        ours = isinstance(part, (DepthAwareLoss, JointGradientLoss, SemanticFocalLoss))
        options = ("ignore_index", "reduction", *(("upsample", "align_corners") if ours else ()))
        stated |= {option: getattr(part, option) for option in options if hasattr(part, option)}
    return stated


# torch.fx cannot follow the conditions on shapes and dtypes in these; they are one step each of a graph that it draws.
@torch.fx.wrap
def _filled(name: str, weights: tuple[float, ...], like: Tensor) -> Tensor:
    checks.check_tensor(name, "depth", like)
    # One by one, as a tensor made of numbers would be copied to the device and waited for.
    return torch.stack([like.new_full((), weight, dtype=compute_dtype(like)) for weight in weights])


@torch.fx.wrap
def _depth_side(
    name: str,
    options: AttentionDepthOptions,
    semantic_weight: float,
    resizing: tuple[str | None, bool],
    depth: Tensor,
    target: Tensor,
    labels: Tensor | None,
    mask: Tensor | None,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    pred, target, mask = checks.depth_maps(name, depth, target, mask, resizing[0])
    if labels is not None:
        labels = checks.label_maps(name, "label_target", labels, target)
    pred = upsampled(pred, target, *resizing)
    depth_aware, joint_gradient, *_ = weights.to(compute_dtype(pred, target)).unbind()
    each = [depth_aware, joint_gradient]
    if labels is not None:
        each.append(semantic_weight * joint_gradient)
    tensors = pred, target, mask, labels, torch.stack(each)
    total, terms = ATTENTION_DEPTH(tensors, options, resolve(pred.device))
    attention, gradients, *semantic = terms.unbind()
    for term in semantic:
        gradients = torch.add(gradients, term, alpha=semantic_weight)
    return total, attention, gradients
