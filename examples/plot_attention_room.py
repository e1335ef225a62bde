"""
Where the loss looks in a room
==============================

A prediction that is right in the near half of a room and too short in the far half, as depth networks like to be.
Alpha weights a pixel by its true depth, lambda by how wrong it is, and the loss multiplies the distance of prediction
and truth by their sum.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import LogNorm, Normalize

from depthattn.data import SyntheticRooms
from depthattn.viz import attention_maps, colour_attention, colour_depth

room = max(SyntheticRooms(12, size=(120, 160), holes=False), key=lambda frame: frame["depth"].max())
truth = room["depth"]
prediction = torch.where(truth < 3, truth, 3 + 0.4 * (truth - 3))
maps = attention_maps(prediction, truth, max_depth=10.0)

columns = (
    {
        "image": room["image"].permute(1, 2, 0),
        "true depth": colour_depth(truth),
        "predicted depth": colour_depth(prediction),
    },
    {
        "alpha: how far": colour_attention(maps.alpha[0], top=1.0),
        "lambda: how wrong": colour_attention(maps.lambda_[0], top=1.0),
        "alpha + lambda": colour_attention(maps.total[0], top=1.0),
    },
)
figure, grid = plt.subplots(3, 2, figsize=(5.6, 7.2))
for column, pictures in zip(grid.T, columns):
    for axes, (title, picture) in zip(column, pictures.items()):
        axes.imshow(picture)
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
scales = (
    (plt.cm.ScalarMappable(LogNorm(0.5, 10), "viridis"), "depth (m)", (0.5, 1, 2, 5, 10)),
    (plt.cm.ScalarMappable(Normalize(0, 1), "plasma"), "weight", (0, 0.5, 1)),
)
for column, (scale, label, ticks) in zip(grid.T, scales):
    bar = figure.colorbar(scale, ax=column, label=label, ticks=ticks, format="{x:g}", location="bottom", pad=0.02)
    bar.ax.minorticks_off()
plt.show()

near, far = truth[0] < 3, truth[0] > 6
print(f"mean weight of a near pixel {maps.total[0][near].mean():.2f}, of a far one {maps.total[0][far].mean():.2f}")
