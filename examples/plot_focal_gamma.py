"""
What gamma does to the focal loss
=================================

A pixel whose true class is predicted with probability p has the loss ``-(1 - p)^gamma log p``. Gamma 0 is cross
entropy. A larger gamma lowers the loss of pixels that are already right. The second chart shows what training gets,
the gradient at the logit of the true class: with gamma 2 it is thirteen times smaller than under cross entropy at p =
0.9, and a little larger at p = 0.1.
"""

import matplotlib.pyplot as plt
import torch

from depthattn.functional import semantic_focal_loss

p = torch.linspace(0.005, 0.995, 199)
labels = torch.zeros(len(p), dtype=torch.long)

figure, (values, slopes) = plt.subplots(2, 1, figsize=(5.6, 6.0), sharex=True)
for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
    logits = torch.stack([p.logit(), torch.zeros_like(p)], dim=1).requires_grad_()
    loss = semantic_focal_loss(logits, labels, gamma=gamma, reduction="none")
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    name = "γ = 0 (cross entropy)" if gamma == 0 else f"γ = {gamma:g}"
    values.plot(p, loss.detach(), label=name)
    slopes.plot(p, -slope[:, 0], label=name)
values.set(title="Loss of a pixel", ylabel="loss (nats)", ylim=(0, 4))
values.legend()
slopes.set(
    title="Gradient magnitude at the logit of the true class",
    xlabel="predicted probability of the true class",
    ylabel="−∂loss/∂logit",
)
figure.set_label(
    "Two charts over the predicted probability of the true class, a line for each "
    "gamma. Above, the loss: the larger gamma is, the lower the line, and the earlier"
    " it is 0. Below, the gradient: for large gamma above that of cross entropy below"
    " 0.2, and near 0 from 0.6 on."
)
plt.show()
