"""
How far one pixel of the up-skip sees
=====================================

The semi-dense up-skip adds every level of a decoder to its last one. These are the gradients of one output pixel, the
centre, towards the features of each level, drawn at the size of the output: what the pixel looks at. The finest level
gives it a few pixels of its own neighbourhood, the coarsest a twelfth of the picture, in one step and without a layer
in between.
"""

import matplotlib.pyplot as plt
import torch

from depthattn import SemiDenseUpSkip

torch.manual_seed(0)
height, width = 96, 128
levels = [torch.randn(1, 16, height // s, width // s, requires_grad=True) for s in (16, 8, 4, 2)]
levels.append(torch.randn(1, 16, height, width, requires_grad=True))
skip = SemiDenseUpSkip([16] * len(levels), out_channels=16)
output = skip(levels)
slopes = torch.autograd.grad(output[..., height // 2, width // 2].sum(), levels)

figure, grid = plt.subplots(3, 2, figsize=(5.6, 6.8))
for axes, slope in zip(grid.flat, slopes):
    reach = slope[0].norm(dim=0)
    seen = (reach > 0).float().mean().item()
    axes.imshow(reach / reach.max(), cmap="magma", vmin=0, vmax=1, extent=(0, width, height, 0))
    rows, columns = reach.shape
    axes.set(title=f"{rows} × {columns}: sees {seen:.1%}", xticks=[], yticks=[])
    axes.grid(False)
axes = grid.flat[-1]
shares = [(slope != 0).float().mean().item() for slope in slopes]
axes.bar(range(len(shares)), [100 * share for share in shares], color="#0b84c6")
axes.set(title="Seen, by level", ylabel="% of the picture", yscale="log", xticks=range(len(shares)))
axes.set_xticklabels(["1/16", "1/8", "1/4", "1/2", "1"], fontsize=9)
axes.set_xlabel("resolution of the level")
axes.yaxis.set_major_formatter("{x:g}")
plt.show()
