"""The plain loop as a LightningModule, with depth scores of unseen rooms after it.

python examples/recipes/with_lightning.py
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from depthattn.data import Sample
from ingredients import SmallNet, attention_loss, room_batches

try:
    import lightning

    from depthattn.metrics import DepthMetrics
except ModuleNotFoundError as error:
    sys.exit(f'{error}: pip install ".[recipes]"')


class RoomModel(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        # Attributes move to the device and are saved in the checkpoint.
        self.network, self.criterion = SmallNet(), attention_loss()
        self.scores = DepthMetrics(max_depth=10.0)
        self.losses: list[Tensor] = []

    def training_step(self, batch: Sample, index: int) -> Tensor:
        depth, logits = self.network(batch["image"])
        parts = self.criterion(depth, logits, batch["depth"], batch["labels"])
        self.log_dict(parts._asdict())
        self.losses.append(parts.total.detach())
        return parts.total

    def validation_step(self, batch: Sample, index: int) -> None:
        self.scores.update(self.network(batch["image"])[0], batch["depth"])

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.scores.compute())
        self.scores.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def main(steps: int = 10) -> tuple[RoomModel, dict[str, float]]:
    torch.manual_seed(0)
    model = RoomModel()
    trainer = lightning.Trainer(
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, room_batches(steps), room_batches(2, seed=1))
    scores = trainer.callback_metrics
    return model, {name: float(scores[name]) for name in ("abs_rel", "rmse", "delta1")}


if __name__ == "__main__":
    model, scores = main()
    print("losses", *(f"{loss:.3f}" for loss in model.losses))
    print("scores", *(f"{name} {score:.3f}" for name, score in scores.items()))
