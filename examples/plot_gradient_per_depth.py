"""
Gradient magnitude by depth
===========================

Every pixel is predicted 20 % too near. The figure shows the gradient magnitude of each loss by true depth, divided by
that at 1 m. For smooth L1 it is the same at 5 m and at 10 m. For a scale-invariant logarithmic loss (SiLog) it falls
with depth. For the depth-aware loss it grows at all depths. ``detach_weight=True`` leaves out the gradient through
lambda.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import smooth_l1_loss

from depthattn.functional import depth_aware_loss

truth = torch.linspace(0.5, 10, 96)[None]


def silog(d, g, variance_share=0.85):
    e = d.log() - g.log()
    return (e.square().mean() - variance_share * e.mean().square()).sqrt()


def depth_aware(d, **options):
    return depth_aware_loss(d, truth, max_depth=10.0, reduction="sum", **options)


losses = {
    "depth-aware": depth_aware,
    "depth-aware, detach_weight": lambda d: depth_aware(d, detach_weight=True),
    "smooth L1": lambda d: smooth_l1_loss(d, truth, reduction="sum"),
    "SiLog": lambda d: truth.numel() * silog(d, truth),
}
at_one_metre = (truth[0] - 1).abs().argmin()
figure, axes = plt.subplots(figsize=(5.6, 4.4))
for (name, loss), dashes in zip(losses.items(), ("-", "--", "-.", ":")):
    prediction = (0.8 * truth).requires_grad_()
    (slope,) = torch.autograd.grad(loss(prediction), prediction)
    relative = slope[0] / slope[0, at_one_metre]
    axes.plot(truth[0], relative, dashes, label=name)
    print(f"{name}: at 10 m {relative[-1]:.2g} times the gradient at 1 m")
axes.set(
    title="Gradient magnitude at a pixel predicted 20 % too near",
    xlabel="true depth (m)",
    ylabel="|∂loss/∂d|, relative to 1 m",
    yscale="log",
    ylim=(0.05, 200),
)
axes.yaxis.set_major_formatter("{x:g}")
axes.legend(loc="upper left")
figure.set_label(
    "Four lines from 0.5 to 10 m, all 1 at 1 m. Depth-aware, with and without "
    "detach_weight, rises to 17 and 22 at 10 m; smooth L1 rises to 5 at 5 m and stays"
    " there; SiLog falls from 2 at 0.5 m to 0.1."
)
plt.show()
