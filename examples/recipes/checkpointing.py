"""The plain loop with gradient checkpointing: the encoder runs twice and holds less.

python examples/recipes/checkpointing.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from ingredients import SmallNet, attention_loss, room_batches


class Checkpointed(nn.Module):
    """The same module, whose inner activations are not kept."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.module, x, use_reentrant=False)


def main(steps: int = 10, checkpointed: bool = True) -> tuple[list[float], int]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet(), attention_loss().to(device)
    if checkpointed:
        network.encoder = Checkpointed(network.encoder)
    network.to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = (
                tensor.untyped_storage().nbytes()
            )
        return tensor

    losses = []
    for batch in room_batches(steps):
        batch = {name: values.to(device) for name, values in batch.items()}
        kept.clear()
        with saved_tensors_hooks(count, lambda tensor: tensor):  # only to show how much
            depth, logits = network(batch["image"])
            parts = criterion(depth, logits, batch["depth"], batch["labels"])
        optimizer.zero_grad()
        parts.total.backward()
        optimizer.step()
        losses.append(parts.total.detach())
    return torch.stack(losses).tolist(), sum(kept.values())


if __name__ == "__main__":
    losses, less = main()
    _, more = main(checkpointed=False)
    print("losses", *(f"{loss:.3f}" for loss in losses))
    print(f"kept for the backward pass: {less:,} bytes, without checkpointing {more:,}")
