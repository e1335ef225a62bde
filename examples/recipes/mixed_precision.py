"""The plain loop in mixed precision (AMP): half-precision network, float32 losses.

python examples/recipes/mixed_precision.py
"""

from __future__ import annotations

import torch

from ingredients import SmallNet, attention_loss, room_batches


def main(steps: int = 10, dtype: torch.dtype = torch.bfloat16) -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet().to(device), attention_loss().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    # float16 holds 6e-8 to 65504, so its gradients are scaled. bfloat16 has the range
    # of float32.
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)

    losses = []
    for batch in room_batches(steps):
        batch = {name: values.to(device) for name, values in batch.items()}
        with torch.autocast(device, dtype=dtype):
            depth, logits = network(batch["image"])
            parts = criterion(depth, logits, batch["depth"], batch["labels"])
        assert parts.total.dtype == torch.float32  # for any dtype of the prediction
        optimizer.zero_grad()
        scaler.scale(parts.total).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(parts.total.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
