"""A training loop in plain PyTorch. The other recipes change one thing each.

python examples/recipes/plain_loop.py
"""

from __future__ import annotations

import torch

from ingredients import SmallNet, attention_loss, room_batches


def main(steps: int = 10) -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet().to(device), attention_loss().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)

    losses = []
    for batch in room_batches(steps):
        batch = {name: values.to(device) for name, values in batch.items()}
        depth, logits = network(batch["image"])
        parts = criterion(depth, logits, batch["depth"], batch["labels"])
        optimizer.zero_grad()
        parts.total.backward()
        optimizer.step()
        losses.append(parts.total.detach())
    # Read at the end: reading a number in every step waits for the device.
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
