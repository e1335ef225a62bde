"""The plain loop with its step compiled: network and losses together, and the optimizer.

python examples/recipes/compiled_step.py
"""

from __future__ import annotations

import torch
from torch import Tensor

from ingredients import SmallNet, attention_loss, room_batches


def main(steps: int = 10, backend: str = "inductor") -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet().to(device), attention_loss().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)

    # fullgraph raises an error where a graph would break: the losses and layers never do.
    @torch.compile(backend=backend, fullgraph=True)
    def total_loss(batch: dict[str, Tensor]) -> Tensor:
        depth, logits = network(batch["image"])
        return criterion(depth, logits, batch["depth"], batch["labels"]).total

    @torch.compile(backend=backend)
    def update() -> None:
        optimizer.step()

    losses = []
    for batch in room_batches(steps):
        loss = total_loss({name: values.to(device) for name, values in batch.items()})
        optimizer.zero_grad()
        loss.backward()  # runs the compiled backward pass of total_loss
        update()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
