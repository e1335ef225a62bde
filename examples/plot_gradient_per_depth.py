"""
How hard a pixel pulls, by depth
================================

Every pixel is predicted 20 % too short. The figure shows the size of the loss's gradient at a pixel, were it alone, by
its true depth: how hard it pulls on the network. Plain smooth L1 pulls no harder at 10 m than at 5; a scale-invariant
logarithmic loss even lets go of far pixels. The depth-aware loss pulls harder the farther a pixel is, beyond the bend
of smooth L1 too; ``detach_weight=True`` leaves out the slope of lambda.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import smooth_l1_loss

from depthattn.functional import depth_aware_loss

truth = torch.linspace(0.5, 10, 96)[None]


def silog(d, g, variance_share=0.85):
    e = d.log() - g.log()
    return (e.square().mean() - variance_share * e.mean().square()).sqrt()


losses = {
    "depth-aware": lambda d: depth_aware_loss(d, truth, max_depth=10.0, reduction="sum"),
    "depth-aware, detach_weight": lambda d: depth_aware_loss(
        d, truth, max_depth=10.0, detach_weight=True, reduction="sum"
    ),
    "smooth L1": lambda d: smooth_l1_loss(d, truth, reduction="sum"),
    "SiLog": lambda d: truth.numel() * silog(d, truth),
}
figure, axes = plt.subplots(figsize=(5.6, 4.4))
for name, loss in losses.items():
    prediction = (0.8 * truth).requires_grad_()
    (slope,) = torch.autograd.grad(loss(prediction), prediction)
    axes.plot(truth[0], slope[0].abs(), label=name, linestyle="--" if name == "SiLog" else "-")
axes.set(title="Gradient at a pixel predicted 20 % short", xlabel="true depth (m)", ylabel="|∂loss/∂d| per pixel (1/m)")
axes.set_ylim(bottom=0)
axes.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
plt.show()
