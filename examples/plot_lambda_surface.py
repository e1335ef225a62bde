"""
Lambda, as published and as computed
====================================

Lambda should be 0 for a right prediction and approach 1 for a wrong one. As published, ``1 - min(log d, log g) /
max(log d, log g)``, it does so if both depths are above one metre. Below, the logarithms are negative or zero. Lambda
then leaves [0, 1], is infinite along the lines at one metre, and is large or negative for predictions that are nearly
right. This library takes the logarithm of depth + 1, which keeps lambda in [0, 1].
"""

import matplotlib.pyplot as plt
import torch

from depthattn.viz import attention_maps

depths = torch.logspace(-1, 1, 241)
d, g = torch.meshgrid(depths, depths, indexing="ij")


def published(d, g):
    a, b = d.log(), g.log()
    return 1 - torch.minimum(a, b) / torch.maximum(a, b)


default = attention_maps(d, g, max_depth=10.0).lambda_[0]
panels = {"As published": published(d, g), "With log(depth + 1), the default": default}
figure, rows = plt.subplots(2, 1, figsize=(5.6, 8.2), sharex=True)
for axes, (title, values) in zip(rows, panels.items()):
    mesh = axes.pcolormesh(
        depths,
        depths,
        values,
        cmap="RdBu_r",
        vmin=-2,
        vmax=2,
        shading="nearest",
        rasterized=True,
    )
    axes.set(
        title=title,
        xscale="log",
        yscale="log",
        ylabel="predicted depth d (m)",
        aspect="equal",
    )
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
rows[1].set_xlabel("true depth g (m)")
figure.colorbar(
    mesh,
    ax=rows,
    label="lambda (colours end at −2 and 2)",
    ticks=range(-2, 3),
    extend="both",
    shrink=0.6,
)
figure.set_label(
    "Two maps of lambda over true and predicted depth from 0.1 to 10 m. As published "
    "it is white, 0, on the diagonal and red, positive, beside it above 1 m; below 1 "
    "m it is blue, negative, and dark red, beyond 2, where one depth is below 1 m and"
    " one above. The default is white on the diagonal and pale red everywhere else."
)
plt.show()

# %%
# A single pixel of a chair 0.7 m away. Training goes down this curve. The default has its minimum at the ground truth;
# the published form has a peak there, falls without bound on both sides, and is infinite at a metre.

near = torch.tensor(0.7)
d = torch.linspace(0.2, 2.5, 921)
figure, axes = plt.subplots()
default = attention_maps(d[None], near.expand(1, len(d)), max_depth=10.0).lambda_[0, 0]
axes.plot(d, default, label="log(depth + 1)")
line = published(d, near.expand(len(d)))
axes.plot(d, torch.where(line.abs() > 4, torch.nan, line), label="as published")
axes.axvline(0.7, color="#8a8f95", linestyle="--", linewidth=1.2)
axes.annotate("ground truth", (0.7, 2.05), xytext=(6, 0), textcoords="offset points")
axes.set(
    title="Lambda for a true depth of 0.7 m",
    xlabel="predicted depth d (m)",
    ylabel="lambda",
    ylim=(-2.4, 2.4),
)
axes.legend(loc="lower right")
figure.set_label(
    "Lambda over predicted depth. The default is a V with its tip, 0, at the ground "
    "truth. The published form has a peak of 0 there, falls below −2 on both sides, "
    "and comes back from above 2 beyond 1 m."
)
plt.show()
