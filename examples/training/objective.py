"""Network and loss as one module, and how the loss is normalised.

Each image is normalised by its own valid pixels, and the images are averaged. The loss of a batch is then a mean over
its images, so equal shares of a batch, on several processes or one after another, average to exactly the loss and the
gradient of the whole batch: images or processes with more holes weigh no more, and nothing has to be counted together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss, SynergyNet
from depthattn.losses.attention_driven import AttentionDrivenLosses
from depthattn.models import SynergyOutput
from training.settings import Settings


def build_loss(settings: Settings) -> AttentionDrivenLoss:
    """The loss of a run, per image."""
    return AttentionDrivenLoss(
        DepthAwareLoss(
            distance=settings.distance,
            max_depth=settings.max_depth,
            log_offset=settings.log_offset,
            reduction="per_image",
        ),
        JointGradientLoss(semantic_weight=settings.semantic_weight, reduction="per_image"),
        # Takes the decoder's logits as they are, so that training never holds full-size ones.
        SemanticFocalLoss(gamma=settings.gamma, upsample="bilinear", reduction="per_image"),
        weights=settings.loss_weights,
    )


class TrainingStep(nn.Module):
    """The forward pass of training and of scoring: image and targets in, prediction and losses out.

    One module for several processes to agree on, and one graph to compile.

    Args:
        model: the network.
        loss: of its output, per image.
        compiled: whether ``torch.compile`` makes one graph of both for training.
    """

    def __init__(self, model: SynergyNet, loss: AttentionDrivenLoss, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        # Inside of the module: what wraps it later, autocast or DistributedDataParallel, stays outside of the graph.
        self._training_run = torch.compile(self._run) if compiled else self._run

    def forward(self, image: Tensor, depth: Tensor, labels: Tensor) -> tuple[SynergyOutput, AttentionDrivenLosses]:
        # Scoring has batches of more than one size, and is over before a graph of its own has paid.
        run = self._training_run if self.training else self._run
        return run(image, depth, labels)

    def _run(self, image: Tensor, depth: Tensor, labels: Tensor) -> tuple[SynergyOutput, AttentionDrivenLosses]:
        output = self.model(image.contiguous(memory_format=torch.channels_last))
        # A network for depth alone has one class, which nothing is labelled with.
        labelled = labels if output.semantics.shape[1] > 1 else None
        losses = self.loss(output.depth, output.semantics, depth, labelled)
        return output, AttentionDrivenLosses(*(loss.mean() for loss in losses))
