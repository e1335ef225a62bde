"""A depth model from transformers, trained with the losses of this library.

python examples/recipes/with_transformers.py
"""

from __future__ import annotations

import sys

import torch

from depthattn import DepthAwareLoss, JointGradientLoss
from ingredients import room_batches

try:
    from transformers import GLPNConfig, GLPNForDepthEstimation
except ModuleNotFoundError as error:
    sys.exit(f'{error}: pip install ".[recipes]"')


def small_model() -> GLPNForDepthEstimation:
    """Random weights; GLPNForDepthEstimation.from_pretrained() takes trained ones."""
    config = GLPNConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
        drop_path_rate=0.0,
    )
    return GLPNForDepthEstimation(config)


def main(steps: int = 10) -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = small_model().to(device).train()
    # Whatever size a model predicts at, the losses can bring it to the target's.
    depth_aware = DepthAwareLoss(max_depth=10.0, upsample="bilinear")
    joint_gradient = JointGradientLoss(upsample="bilinear")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    losses = []
    for batch in room_batches(steps):
        batch = {name: values.to(device) for name, values in batch.items()}
        depth = model(pixel_values=batch["image"]).predicted_depth  # (B,H,W), metres
        edges = joint_gradient(depth, batch["depth"])
        loss = depth_aware(depth, batch["depth"]) + 0.05 * edges
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
