"""
How far one pixel of the up-skip sees
=====================================

The semi-dense up-skip adds every level of a decoder to its last one. Each square holds the features of one level that
reach the pixel in the middle of the output, found by their gradient. At the finest level these are a few pixels
around it, at the coarsest a twelfth of the image. No other layer lies between.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle

from depthattn import SemiDenseUpSkip
from depthattn.data import SyntheticRooms

torch.manual_seed(0)
height, width = 96, 128
strides = (16, 8, 4, 2, 1)
sizes = [(1, 16, height // stride, width // stride) for stride in strides]
levels = [torch.randn(size, requires_grad=True) for size in sizes]
skip = SemiDenseUpSkip([16] * len(levels), out_channels=16)
output = skip(levels)
slopes = torch.autograd.grad(output[..., height // 2, width // 2].sum(), levels)

figure, (image, shares) = plt.subplots(2, 1, figsize=(5.6, 6.8), height_ratios=(3, 2))
room = SyntheticRooms(1, size=(height, width))[0]["image"]
image.imshow(room.permute(1, 2, 0), extent=(0, width, height, 0))
for index, (stride, slope) in enumerate(zip(strides, slopes)):
    seen = slope[0].ne(0).any(dim=0)
    colour, places = f"C{index}", seen.nonzero().flip(1)
    low, high = stride * places.amin(dim=0), stride * (places.amax(dim=0) + 1)
    frame = Rectangle(low, *(high - low), fill=False, edgecolor=colour, linewidth=2.5)
    image.add_patch(frame)
    share = 100 * seen.float().mean()
    shares.plot(share, f"1/{stride}", "o", color=colour, markersize=9)
image.set(title="What the middle pixel sees of each level", xticks=[], yticks=[])
image.spines[:].set_visible(False)
image.grid(False)
shares.set(
    xlabel="% of the image that is seen",
    ylabel="resolution of the level",
    xscale="log",
    xlim=(0.03, 20),
)
shares.xaxis.set_major_formatter("{x:g}")
shares.invert_yaxis()
figure.set_label(
    "A room with five nested squares around its middle, from a third of its height to"
    " three pixels. Below, a dot for each level: from 8 % of the image at 1/16 of the"
    " resolution to 0.1 % at full resolution."
)
plt.show()
