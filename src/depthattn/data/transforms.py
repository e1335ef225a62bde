"""Joint augmentation of image, depth and labels, as is usual for NYU Depth v2.

Every transform takes a sample and returns a new one; what it is given stays as it is. All randomness comes from
torch's default generator, so ``torch.manual_seed`` and the seeding of DataLoader workers determine it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from depthattn._extras import require
from depthattn.data.resample import Size, nearest
from depthattn.data.sample import Sample, Transform

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomScale",
    "Resize",
    "eval_transform",
    "train_transform",
]


def _check_size(function: str, size: Sequence[int]) -> Size:
    if isinstance(size, str) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"{function}: expected size (height, width) of two whole numbers > 0, got {size!r}")
    return size[0], size[1]


def _check_range(function: str, name: str, bounds: Sequence[float]) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] < math.inf:
        raise ValueError(f"{function}: expected {name} (low, high) with 0 < low <= high, got {bounds!r}")
    return float(bounds[0]), float(bounds[1])


def _uniform(bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + (high - low) * float(torch.rand(()))


def _size(sample: Sample) -> Size:
    height, width = sample["image"].shape[-2:]
    return height, width


def _resized(sample: Sample, size: Size) -> Sample:
    """The sample at another size; depth and labels by the nearest pixel, so that holes and edges do not bleed."""
    height, width = _size(sample)
    if size == (height, width):
        return sample
    image = F.interpolate(sample["image"][None], size=size, mode="bilinear", align_corners=False, antialias=True)[
        0
    ].clamp_(0.0, 1.0)
    return {
        "image": image,
        "depth": nearest(sample["depth"], size),
        "labels": nearest(sample["labels"], size),
    }


def _cropped(function: str, sample: Sample, size: Size, place: tuple[float, float]) -> Sample:
    """A window of ``size``; ``place`` in [0, 1) is its place between the first and the last that fit."""
    height, width = _size(sample)
    if size[0] > height or size[1] > width:
        raise ValueError(
            f"{function}: expected an image of at least {size[0]}x{size[1]} (height x width), got {height}x{width}"
        )
    top = int(place[0] * (height - size[0] + 1))
    left = int(place[1] * (width - size[1] + 1))
    window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    return {
        "image": sample["image"][window],
        "depth": sample["depth"][window],
        "labels": sample["labels"][window],
    }


class Compose:
    """Apply transforms one after another.

    Args:
        transforms: what to apply, in order.

    Example:
        >>> from depthattn.data import SyntheticRooms
        >>> from depthattn.data.transforms import CenterCrop, Compose, RandomHorizontalFlip
        >>> augment = Compose([CenterCrop((32, 40)), RandomHorizontalFlip()])
        >>> SyntheticRooms(1, size=(48, 64), transform=augment)[0]["image"].shape
        torch.Size([3, 32, 40])
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.transforms:
            sample = transform(sample)
        return sample

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


class Resize:
    """Resize the whole view; depth values do not change.

    The image is resampled bilinearly (with antialiasing when it shrinks), depth and labels by nearest.

    Args:
        size: (height, width) in pixels.
        cover: keep the aspect ratio, and make the smallest view that covers ``size``, for a crop to follow.

    Raises:
        ValueError: a size that is not two positive whole numbers.

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import Resize
        >>> depth, labels = torch.ones(1, 48, 64), torch.zeros(48, 64).long()
        >>> frame = {"image": torch.rand(3, 48, 64), "depth": depth, "labels": labels}
        >>> Resize((24, 24), cover=True)(frame)["depth"].shape
        torch.Size([1, 24, 32])
    """

    def __init__(self, size: Sequence[int], *, cover: bool = False) -> None:
        self.size = _check_size("Resize", size)
        self.cover = cover

    def __call__(self, sample: Sample) -> Sample:
        if not self.cover:
            return _resized(sample, self.size)
        height, width = _size(sample)
        ratio = max(self.size[0] / height, self.size[1] / width)
        return _resized(sample, (max(self.size[0], round(height * ratio)), max(self.size[1], round(width * ratio))))

    def __repr__(self) -> str:
        return f"Resize({self.size}, cover={self.cover})"


class RandomScale:
    """Resize by a random factor s and divide depth by s: what appears s times larger is s times nearer.

    Args:
        scale: (low, high) bounds of s, drawn uniformly.

    Raises:
        ValueError: bounds that are not 0 < low <= high.

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import RandomScale
        >>> depth, labels = torch.ones(1, 48, 64), torch.zeros(48, 64).long()
        >>> frame = {"image": torch.rand(3, 48, 64), "depth": depth, "labels": labels}
        >>> RandomScale((2.0, 2.0))(frame)["depth"].unique()
        tensor([0.5000])
    """

    def __init__(self, scale: Sequence[float] = (1.0, 1.5)) -> None:
        self.scale = _check_range("RandomScale", "scale", scale)

    def __call__(self, sample: Sample) -> Sample:
        scale = _uniform(self.scale)
        height, width = _size(sample)
        resized = _resized(sample, (max(1, round(height * scale)), max(1, round(width * scale))))
        return {"image": resized["image"], "depth": resized["depth"] / scale, "labels": resized["labels"]}

    def __repr__(self) -> str:
        return f"RandomScale({self.scale})"


class RandomCrop:
    """Cut a window of a fixed size at a random place.

    Args:
        size: (height, width) in pixels.

    Raises:
        ValueError: a size that is not two positive whole numbers; when called, a window larger than the image.

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import RandomCrop
        >>> depth, labels = torch.arange(12.0).view(1, 3, 4), torch.zeros(3, 4).long()
        >>> frame = {"image": torch.rand(3, 3, 4), "depth": depth, "labels": labels}
        >>> cut = RandomCrop((2, 2))(frame)["depth"]
        >>> bool((cut - cut[0, 0, 0] == torch.tensor([[0.0, 1.0], [4.0, 5.0]])).all())
        True
    """

    def __init__(self, size: Sequence[int]) -> None:
        self.size = _check_size("RandomCrop", size)

    def __call__(self, sample: Sample) -> Sample:
        place = (float(torch.rand(())), float(torch.rand(())))
        return _cropped("RandomCrop", sample, self.size, place)

    def __repr__(self) -> str:
        return f"RandomCrop({self.size})"


class CenterCrop:
    """Cut a window of a fixed size from the middle.

    Args:
        size: (height, width) in pixels.

    Raises:
        ValueError: a size that is not two positive whole numbers; when called, a window larger than the image.

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import CenterCrop
        >>> depth, labels = torch.arange(12.0).view(1, 3, 4), torch.zeros(3, 4).long()
        >>> frame = {"image": torch.rand(3, 3, 4), "depth": depth, "labels": labels}
        >>> CenterCrop((1, 2))(frame)["depth"]
        tensor([[[5., 6.]]])
    """

    def __init__(self, size: Sequence[int]) -> None:
        self.size = _check_size("CenterCrop", size)

    def __call__(self, sample: Sample) -> Sample:
        return _cropped("CenterCrop", sample, self.size, (0.5, 0.5))

    def __repr__(self) -> str:
        return f"CenterCrop({self.size})"


class RandomHorizontalFlip:
    """Flip horizontally at random.

    Args:
        p: probability of a flip.

    Raises:
        ValueError: a probability outside [0, 1].

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import RandomHorizontalFlip
        >>> depth, labels = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3, 4]])
        >>> frame = {"image": torch.rand(3, 1, 2), "depth": depth, "labels": labels}
        >>> mirrored = RandomHorizontalFlip(p=1.0)(frame)
        >>> mirrored["depth"], mirrored["labels"]
        (tensor([[[2., 1.]]]), tensor([[4, 3]]))
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"RandomHorizontalFlip: expected p in [0, 1], got {p}")
        self.p = p

    def __call__(self, sample: Sample) -> Sample:
        if float(torch.rand(())) >= self.p:
            return sample
        return {
            "image": sample["image"].flip(-1),
            "depth": sample["depth"].flip(-1),
            "labels": sample["labels"].flip(-1),
        }

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip({self.p})"


class ColorJitter:
    """Random brightness, contrast and saturation (Pillow's ImageEnhance, in random order), then a gain per channel.

    Depth and labels do not change. The image is rounded to 8 bits.

    Args:
        strength: brightness, contrast and saturation factors are drawn from [1 - strength, 1 + strength].
        channel_gain: (low, high) bounds of the factor of each colour channel.

    Raises:
        ValueError: a strength outside [0, 1], or bounds that are not 0 < low <= high.
        ImportError: Pillow is not installed.

    Example:
        >>> from depthattn.data import SyntheticRooms
        >>> from depthattn.data.transforms import ColorJitter
        >>> plain = SyntheticRooms(1, size=(48, 64))[0]
        >>> coloured = SyntheticRooms(1, size=(48, 64), transform=ColorJitter(0.4))[0]
        >>> bool((coloured["image"] == plain["image"]).all())
        False
        >>> bool((coloured["depth"] == plain["depth"]).all())
        True
    """

    def __init__(self, strength: float = 0.4, channel_gain: Sequence[float] = (0.8, 1.2)) -> None:
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"ColorJitter: expected strength in [0, 1], got {strength}")
        self.strength = strength
        self.channel_gain = _check_range("ColorJitter", "channel_gain", channel_gain)
        require("PIL.ImageEnhance", extra="train", purpose="ColorJitter")

    def __call__(self, sample: Sample) -> Sample:
        image_module = require("PIL.Image", extra="train", purpose="ColorJitter")
        enhance = require("PIL.ImageEnhance", extra="train", purpose="ColorJitter")
        pixels = sample["image"].mul(255.0).round_().clamp_(0.0, 255.0).byte().permute(1, 2, 0).contiguous().numpy()
        picture = image_module.fromarray(pixels)
        enhancers = (enhance.Brightness, enhance.Contrast, enhance.Color)
        for position in torch.randperm(len(enhancers)).tolist():
            factor = _uniform((1.0 - self.strength, 1.0 + self.strength))
            picture = enhancers[position](picture).enhance(factor)
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255.0)
        gain = torch.tensor([_uniform(self.channel_gain) for _ in range(3)]).view(3, 1, 1)
        return {
            "image": image.mul_(gain).clamp_(0.0, 1.0).contiguous(),
            "depth": sample["depth"],
            "labels": sample["labels"],
        }

    def __repr__(self) -> str:
        return f"ColorJitter({self.strength}, {self.channel_gain})"


def train_transform(
    size: Sequence[int], *, scale: Sequence[float] = (1.0, 1.5), jitter: float = 0.4, flip: float = 0.5
) -> Compose:
    """Make the augmentation for training: cover ``size``, then random scale, crop, flip and colour.

    Args:
        size: (height, width) of the result in pixels.
        scale: bounds of the random scale; depth is divided by it. At least 1, or the crop cannot fit.
        jitter: strength of :class:`ColorJitter`; its channel gains follow with half of it. 0 turns colour off.
        flip: probability of a horizontal flip.

    Returns:
        What a dataset takes as ``transform``.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> import torch
        >>> from depthattn.data.transforms import train_transform
        >>> depth, labels = torch.ones(1, 48, 64), torch.zeros(48, 64).long()
        >>> frame = {"image": torch.rand(3, 48, 64), "depth": depth, "labels": labels}
        >>> train_transform((32, 40))(frame)["image"].shape
        torch.Size([3, 32, 40])
    """
    window = _check_size("train_transform", size)
    if _check_range("train_transform", "scale", scale)[0] < 1.0:
        raise ValueError(f"train_transform: expected scale >= 1, so that the crop fits, got {scale!r}")
    steps: list[Transform] = [
        Resize(window, cover=True),
        RandomScale(scale),
        RandomCrop(window),
        RandomHorizontalFlip(flip),
    ]
    if jitter != 0.0:
        steps.append(ColorJitter(jitter, (1.0 - jitter / 2, 1.0 + jitter / 2)))
    return Compose(steps)


def eval_transform(size: Sequence[int]) -> Compose:
    """Make a transform for evaluation: the smallest resize that covers ``size``, then a centre crop.

    Args:
        size: (height, width) of the result in pixels.

    Returns:
        What a dataset takes as ``transform``.

    Raises:
        ValueError: a size that is not two positive whole numbers.

    Example:
        >>> from depthattn.data import SyntheticRooms
        >>> from depthattn.data.transforms import eval_transform
        >>> transform = eval_transform((24, 24))
        >>> SyntheticRooms(1, size=(48, 64), transform=transform)[0]["depth"].shape
        torch.Size([1, 24, 24])
    """
    return Compose([Resize(size, cover=True), CenterCrop(size)])
