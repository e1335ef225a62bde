"""
Where the loss looks in a room
==============================

The prediction has two errors: the far half of the room is predicted too near, and the sofa in front three times too
far. Alpha is the weight of a pixel by its true depth, lambda by the error of its prediction. The loss multiplies the
error of each pixel by their sum, so the far wall and the sofa weigh most.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from depthattn.data import SyntheticRooms
from depthattn.viz import attention_maps, colour_attention, colour_depth

rooms = SyntheticRooms(12, size=(120, 160), holes=False)
room = max(rooms, key=lambda frame: frame["depth"].max())
truth, labels = room["depth"], room["labels"]
prediction = torch.where(truth < 3, truth, 3 + 0.4 * (truth - 3))
sofa = (labels == rooms.class_names.index("sofa")) & (truth < 3)
prediction = torch.where(sofa, 3 * truth, prediction)
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
figure.get_layout_engine().set(wspace=0.06)
for column, pictures in zip(grid.T, columns):
    for axes, (title, picture) in zip(column, pictures.items()):
        axes.imshow(picture)
        axes.set(title=title, xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
scales = (
    (ScalarMappable(LogNorm(0.5, 10), "viridis"), "depth (m)", (0.5, 1, 2, 5, 10)),
    (ScalarMappable(Normalize(0, 1), "plasma"), "weight", (0, 0.5, 1)),
)
for column, (scale, label, ticks) in zip(grid.T, scales):
    bar = figure.colorbar(
        scale,
        ax=column,
        label=label,
        ticks=ticks,
        format="{x:g}",
        location="bottom",
        pad=0.02,
    )
    bar.ax.minorticks_off()
figure.set_label(
    "A room with a floor that runs back to a far wall, and a sofa in front on the "
    "right. Alpha is bright at the far wall and dark in front; lambda is bright on "
    "the sofa, dark on the floor, and in between at the far wall; their sum is bright"
    " on both."
)
plt.show()

places = {
    "near, right": (truth < 3) & ~sofa,
    "near, wrong": sofa,
    "far, wrong": truth > 6,
}
for name, place in places.items():
    print(f"{name}: mean weight {maps.total[place].mean():.2f}")
