"""The features of all frames, computed once by the part of the encoder that is not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ablating.network import PartlyFrozen
from depthattn.data import Sample

_FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class Features:
    """Frames as the trained part of a network sees them.

    Args:
        maps: features in half precision, (N,V,C,h,w); the second of two views is of the mirrored image.
        depth: true depth, (N,1,H,W), metres, at every so many pixels.
        labels: class numbers of the same pixels, (N,H,W).
    """

    maps: Tensor
    depth: Tensor
    labels: Tensor

    def batch(self, chosen: Tensor, mirrored: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Maps, depth and labels of the frames ``chosen`` (B,), left and right swapped where ``mirrored`` (B,)."""
        maps = self.maps[chosen, mirrored.long()].float()
        depth = _swapped(self.depth[chosen], mirrored)
        labels = _swapped(self.labels[chosen], mirrored).long()
        return maps.to(device, memory_format=torch.channels_last), depth.to(device), labels.to(device)

    def training_batches(
        self, batch_size: int, generator: torch.Generator, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One pass in random order, each frame mirrored at random or not; a last batch that is not full is left out."""
        order = torch.randperm(len(self.maps), generator=generator)
        mirrored = torch.rand(len(self.maps), generator=generator) < 0.5
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield self.batch(order[start : start + batch_size], mirrored[start : start + batch_size], device)

    def batches(self, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All frames in order, as they are."""
        for chosen in torch.arange(len(self.maps)).split(batch_size):
            yield self.batch(chosen, torch.zeros(len(chosen), dtype=torch.bool), device)


def compute_features(
    model: PartlyFrozen,
    frames: Dataset[Sample],
    stride: int,
    *,
    mirrored: bool,
    on_frame: Callable[[int], object],
) -> Features:
    """Run the frozen part of a network over frames.

    Args:
        model: the network.
        frames: images and ground truth.
        stride: the ground truth is taken at every so many pixels, in the middle of each cell.
        mirrored: whether the mirror images are to be seen too.
        on_frame: called with the number of frames done.
    """
    middle = slice(stride // 2, None, stride)
    device = next(model.parameters()).device
    maps, depths, labels = [], [], []
    done = 0
    for batch in DataLoader(frames, batch_size=_FRAMES_AT_ONCE):
        image = batch["image"].to(device, memory_format=torch.channels_last)
        views = [image, image.flip(-1)] if mirrored else [image]
        maps.append(torch.stack([model.frozen_features(view).half().cpu() for view in views], 1))
        depths.append(batch["depth"][..., middle, middle].clone())
        labels.append(batch["labels"][..., middle, middle].to(torch.int16))
        done += len(image)
        on_frame(done)
    return Features(torch.cat(maps), torch.cat(depths), torch.cat(labels))


def _swapped(x: Tensor, mirrored: Tensor) -> Tensor:
    chosen = mirrored.view(-1, *[1] * (x.dim() - 1))
    return torch.where(chosen, x.flip(-1), x)
