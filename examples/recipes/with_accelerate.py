"""The plain loop under accelerate, on one device or, as below, on several.

accelerate launch examples/recipes/with_accelerate.py
"""

from __future__ import annotations

import sys

import torch

from ingredients import SmallNet, attention_loss, room_batches

try:
    from accelerate import Accelerator
except ModuleNotFoundError as error:
    sys.exit(f'{error}: pip install ".[recipes]"')


def main(steps: int = 10) -> list[float]:
    accelerator = Accelerator()
    torch.manual_seed(0)
    network, batches = SmallNet(), room_batches(steps)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network, optimizer, batches = accelerator.prepare(network, optimizer, batches)
    # The loss has no parameters to prepare, but its class weights have to move.
    criterion = attention_loss().to(accelerator.device)

    losses = []
    for batch in batches:
        depth, logits = network(batch["image"])
        parts = criterion(depth, logits, batch["depth"], batch["labels"])
        optimizer.zero_grad()
        accelerator.backward(parts.total)
        optimizer.step()
        losses.append(accelerator.reduce(parts.total.detach(), "mean"))
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
