"""
Two long tails: depths and classes
==================================

Near surfaces cover many pixels and far ones few, so near pixels dominate a loss that weighs all pixels equally.
Classes have a long tail too: walls and floors have most pixels, a lamp has few. The figures count 48 synthetic rooms.
To count your own frames, put ``NYUDepthV2`` or ``RGBDList`` in place of ``SyntheticRooms``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from depthattn.data import SyntheticRooms
from depthattn.viz import DepthHistogram

rooms = SyntheticRooms(48, size=(96, 128))
frames = [rooms[index] for index in range(len(rooms))]
depths = torch.stack([frame["depth"] for frame in frames])
histogram = DepthHistogram.of(depths, max_depth=10.0, bins=40)

figure, axes = plt.subplots()
share = 100 * histogram.counts / histogram.counts.sum()
axes.bar(np.arange(40) / 4, share, width=0.22, align="edge", color="#0b84c6")
axes.set(
    title="Pixels by true depth",
    xlabel="true depth (m)",
    ylabel="% of the measured pixels",
    xlim=(0, 10),
)
figure.set_label("Bars: most pixels lie between 1.5 and 3.5 m, few between 5 and 9 m.")
plt.show()

# %%
# The mean of a loss is a mean over pixels: half of it comes from the pixels below the median depth.

measured = depths[depths > 0]
half, most = torch.quantile(measured[::7], torch.tensor([0.5, 0.9]))
print(f"half of the pixels are nearer than {half:.1f} m, nine in ten than {most:.1f} m")

# %%
# And the classes, on a logarithmic axis:

labels = torch.stack([frame["labels"] for frame in frames])
counts = torch.bincount(labels[labels >= 0], minlength=rooms.num_classes)
order = counts.argsort()
figure, axes = plt.subplots(figsize=(5.6, 4.4))
share = 100 * counts[order] / counts.sum()
axes.plot(share, [rooms.class_names[i] for i in order], "o")
axes.set(
    title="Pixels by class",
    xlabel="% of the labelled pixels",
    xscale="log",
    xlim=(0.4, 100),
)
axes.xaxis.set_major_formatter("{x:g}")
figure.set_label("A dot for each class: wall 44 %, floor 19 %, down to lamp, 0.6 %.")
plt.show()
