"""
The idea in one figure
======================

A small network, trained with L1 for some seconds on synthetic rooms, predicts the depth of a room that it has not
seen. Alpha is large where the room is far away, lambda where the prediction is wrong. The depth-aware loss weights
each pixel by their sum. The chart is a mean over 96 such rooms: far pixels have the largest errors, and in the
depth-aware loss they count about three times as much as in L1.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.cm import ScalarMappable
from torch import nn
from torch.nn.functional import interpolate

from depthattn.data import SyntheticRooms
from depthattn.functional import depth_aware_loss
from depthattn.viz import attention_maps, colour_attention


def block(before, after, stride):
    convolution = nn.Conv2d(before, after, 3, stride, 1)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


torch.manual_seed(0)
sizes = (3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 2), (64, 64, 1)
blocks = [block(*size) for size in sizes]
upsample = nn.UpsamplingBilinear2d(scale_factor=16)
model = nn.Sequential(*blocks, nn.Conv2d(64, 1, 3, 1, 1), nn.Softplus(), upsample)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
rooms = list(SyntheticRooms(192, size=(48, 64)))
batches = torch.utils.data.DataLoader(rooms, batch_size=8, shuffle=True)
for _ in range(12):
    for batch in batches:
        depth, target = model(batch["image"]), batch["depth"]
        optimizer.zero_grad()
        (depth - target)[target > 0].abs().mean().backward()
        optimizer.step()

frames = list(SyntheticRooms(96, size=(48, 64), seed=1))
target = torch.stack([frame["depth"] for frame in frames])
with torch.no_grad():
    depth = model.eval()(torch.stack([frame["image"] for frame in frames]))
far = int(target.flatten(1).quantile(0.9, dim=1).argmax())
room = SyntheticRooms(96, size=(120, 160), seed=1, holes=False)[far]
predicted = interpolate(depth[far, None], (120, 160), mode="bilinear")[0]
maps = attention_maps(predicted, room["depth"], max_depth=10.0)

pictures = {
    "a room": room["image"].permute(1, 2, 0),
    "alpha: how far": colour_attention(maps.alpha[0], top=1.0),
    "lambda: how wrong": colour_attention(maps.lambda_[0], top=1.0),
    "alpha + lambda": colour_attention(maps.total[0], top=1.0),
}
layout = (
    ("a room", "alpha: how far", "chart"),
    ("lambda: how wrong", "alpha + lambda", "chart"),
)
figure, grid = plt.subplot_mosaic(layout, figsize=(7.4, 3.0), width_ratios=(1, 1, 1.6))
for title, picture in pictures.items():
    grid[title].imshow(picture)
    grid[title].set(title=title, xticks=[], yticks=[])
    grid[title].spines[:].set_visible(False)
weight = ScalarMappable(plt.Normalize(0, 1), "plasma")
place = [grid[title] for title in pictures]
figure.colorbar(
    weight,
    ax=place,
    label="weight",
    ticks=(0, 0.5, 1),
    extend="max",
    aspect=30,
)

weighted = depth_aware_loss(depth, target, max_depth=10.0, reduction="none")
losses = {"L1": (depth - target).abs()[:, 0], "depth-aware loss": weighted}
ranges = [(target[:, 0] > low) & (target[:, 0] <= low + 1) for low in range(1, 8)]
middles = [low + 0.5 for low in range(1, 8)]
for (name, values), style in zip(losses.items(), ("s--", "o-")):
    mean = values[target[:, 0] > 0].mean()
    by_depth = [float(values[inside].mean() / mean) for inside in ranges]
    grid["chart"].plot(middles, by_depth, style, label=name)
    near, far = by_depth[0], by_depth[-1]
    print(f"{name}: {near:.1f} times the mean at 1 to 2 m, {far:.1f} times at 7 to 8 m")
grid["chart"].set(
    title="Loss of a pixel (mean pixel: 1)",
    xlabel="true depth (m)",
    xlim=(1, 8),
    ylim=(0, None),
)
grid["chart"].legend()
figure.set_label(
    "Left, a room and three maps of it: alpha is bright at the far wall, lambda is "
    "dim and brightest at the far wall and on the furniture at the left, and their "
    "sum is brightest at the far wall. Right, the loss of a pixel by true depth, "
    "relative to the mean pixel: at 7 to 8 m it is about three times as large in the "
    "depth-aware loss as in L1."
)
plt.show()
