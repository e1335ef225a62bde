"""The plain loop for a network that predicts disparity up to a scale and a shift.

python examples/recipes/relative_depth.py
"""

from __future__ import annotations

import torch

from depthattn.functional import align_scale_shift, joint_gradient_loss
from depthattn.metrics import align_depth
from ingredients import SmallNet, room_batches


def main(steps: int = 10) -> tuple[list[float], float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = SmallNet().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)

    losses = []
    for batch in room_batches(steps):
        batch = {name: values.to(device) for name, values in batch.items()}
        known = batch["depth"] > 0
        target = torch.where(known, 1 / batch["depth"], 0.0)
        prediction, _ = network(batch["image"])
        # Align each image by its best scale and shift; the loss sees the rest.
        disparity = align_scale_shift(prediction, target)
        distance = torch.where(
            known, (disparity - target).abs(), 0.0
        ).sum() / known.sum().clamp(min=1)
        loss = distance + 0.1 * joint_gradient_loss(disparity, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    # To score it, align in the space that it predicts in, and only then turn to depth.
    batch = {
        name: values.to(device)
        for name, values in next(iter(room_batches(1, seed=1))).items()
    }
    with torch.no_grad():
        prediction, _ = network(batch["image"])
    depth = align_depth(
        prediction, batch["depth"], method="least_squares", space="disparity"
    ).clamp(1e-3, 10.0)
    known = batch["depth"] > 0
    abs_rel = ((depth - batch["depth"]).abs() / batch["depth"])[known].mean()
    return torch.stack(losses).tolist(), float(abs_rel)


if __name__ == "__main__":
    losses, abs_rel = main()
    print("losses", *(f"{loss:.3f}" for loss in losses))
    print(f"AbsRel of four other rooms, aligned in disparity: {abs_rel:.3f}")
