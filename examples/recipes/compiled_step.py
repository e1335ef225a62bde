"""The plain loop, with network and losses compiled together, and the optimizer step.

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

    # fullgraph=True raises an error at a graph break. Losses and layers cause none.
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
