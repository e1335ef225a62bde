"""Network and loss as one module, and how the loss is normalised.

Each image is normalised by its own valid pixels, and the images are averaged. The loss of a batch is then a mean over
its images, so equal shares of a batch, on several processes or one after another, average to exactly the loss and the
gradient of the whole batch: images or processes with more holes weigh no more, and nothing has to be counted together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthattn import DepthAwareLoss, JointGradientLoss, SemanticFocalLoss, SynergyNet
from depthattn.losses.attention_driven import AttentionDrivenLosses
from depthattn.models.synergynet import SynergyOutput
from training.settings import Settings


class PerImageLoss(nn.Module):
    r"""The attention-driven loss of every image by its own pixels, averaged over the images.

    .. math:: L = \frac{1}{B} \sum_b w_1 L_{DA}^{(b)} + w_2 L_{JG}^{(b)} + w_3 L_{semF}^{(b)}

    A loss without a valid pixel in an image is 0 there. With learned weights, the log-variances of
    :class:`depthattn.AttentionDrivenLoss` act on each image, and one whose loss is 0 there is not moved by it.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.depth_aware = DepthAwareLoss(
            distance=settings.distance,
            max_depth=settings.max_depth,
            log_offset=settings.log_offset,
            reduction="per_image",
        )
        self.joint_gradient = JointGradientLoss(reduction="per_image")
        # Takes the decoder's logits as they are, so that training never holds full-size ones.
        self.semantic_focal = SemanticFocalLoss(gamma=settings.gamma, upsample="bilinear", reduction="per_image")
        learned = settings.loss_weights == "learned"
        self.log_variances = nn.Parameter(torch.zeros(3)) if learned else None
        self.weights = None if learned else settings.loss_weights

    def forward(self, output: SynergyOutput, depth: Tensor, labels: Tensor) -> AttentionDrivenLosses:
        parts = torch.stack(
            [
                self.depth_aware(output.depth, depth),
                self.joint_gradient(output.depth, depth, labels),
                self.semantic_focal(output.semantics, labels),
            ]
        )
        total = self._learned(parts) if self.weights is None else self._weighted(parts)
        return AttentionDrivenLosses(total, *parts.detach().mean(1).unbind())

    def _weighted(self, parts: Tensor) -> Tensor:
        return sum(weight * part for weight, part in zip(self.weights, parts.mean(1).unbind(), strict=True))

    def _learned(self, parts: Tensor) -> Tensor:
        log_variances = self.log_variances[:, None]
        # A density in metres has the factor 1/2 (a Gaussian's), a softmax has not.
        weights = torch.exp(-log_variances) * torch.cat((parts.new_full((2, 1), 0.5), parts.new_ones(1, 1)))
        terms = weights * parts + 0.5 * log_variances
        return torch.where(parts.detach() == 0, 0, terms).sum(0).mean()


class TrainingStep(nn.Module):
    """The forward pass of training: image and targets in, prediction and losses out.

    One module for several processes to agree on, and one graph to compile.

    Args:
        model: the network.
        loss: of its output.
        compiled: whether ``torch.compile`` makes one graph of both.
    """

    def __init__(self, model: SynergyNet, loss: PerImageLoss, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        # Inside of the module: what wraps it later, autocast or DistributedDataParallel, stays outside of the graph.
        self.run = torch.compile(self._run) if compiled else self._run

    def forward(self, image: Tensor, depth: Tensor, labels: Tensor) -> tuple[SynergyOutput, AttentionDrivenLosses]:
        return self.run(image, depth, labels)

    def _run(self, image: Tensor, depth: Tensor, labels: Tensor) -> tuple[SynergyOutput, AttentionDrivenLosses]:
        output = self.model(image.contiguous(memory_format=torch.channels_last))
        return output, self.loss(output, depth, labels)
