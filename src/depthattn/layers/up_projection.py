"""The fast up-projection of FCRN: a learned doubling of resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthattn.layers.fcrn import converted
from depthattn.ops import checks
from depthattn.ops.tracing import traced_quietly

FcrnPadding = Literal["trailing", "leading"]


class UpProjection(nn.Module):
    r"""The fast up-projection of FCRN: doubles height and width, with a projection shortcut.

    .. math::
        a, b = \mathrm{BN}(U_a x),\ \mathrm{BN}(U_b x) \qquad
        y = \mathrm{ReLU}\bigl(\mathrm{BN}(K_{3\times3}\, \mathrm{ReLU}(a)) + b\bigr)

    where each ``U`` unpools ``x`` by zeros (value at the top left of each 2x2 cell) and applies a 5x5 convolution.
    At each output pixel only some taps meet no inserted zero: 3x3 of them at (even, even) positions, 3x2, 2x3 and 2x2
    at the others. So the 5x5 kernel is four small kernels whose results are interleaved, which is one transposed
    convolution of stride two. Both branches share it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.

    Shape:
        Input (B, in_channels, h, w); output (B, out_channels, 2h, 2w), or ``size`` where it is given.

    Raises:
        TypeError: if a number of channels is not an integer.
        ValueError: if a number of channels is below 1, or if the input or ``size`` does not fit.

    Gradient:
        To the input, the kernels and the batch norms. ReLU has slope 0 at 0, and what ``size`` cuts off gets none.

    Source:
        Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016,
        arXiv:1606.00373.

    Example:
        >>> import torch
        >>> from depthattn.layers.up_projection import UpProjection
        >>> up = UpProjection(64, 32)
        >>> up(torch.rand(2, 64, 8, 10)).shape
        torch.Size([2, 32, 16, 20])
        >>> up(torch.rand(2, 64, 8, 10), size=(15, 19)).shape
        torch.Size([2, 32, 15, 19])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
            checks.check_index("UpProjection", name, value)
            checks.check_number("UpProjection", name, value, at_least=1)
        self.in_channels = in_channels = int(in_channels)
        self.out_channels = out_channels = int(out_channels)
        # No biases: each convolution is followed by a batch norm, which has its own.
        self.unpool_conv = nn.ConvTranspose2d(
            in_channels, 2 * out_channels, 5, stride=2, padding=2, output_padding=1, bias=False
        )
        self.unpool_norm = nn.BatchNorm2d(2 * out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.reset_parameters()

    @classmethod
    def from_fcrn(
        cls, weights: Mapping[str, Tensor], *, padding: FcrnPadding = "trailing", eps: float = 1e-5
    ) -> UpProjection:
        """Make an up-projection with the weights of a published FCRN.

        A branch of FCRN has one 5x5 kernel behind an unpooling by zeros, or its four parts A, B, C and D, which compute
        the pixels of even rows and columns (3x3), of odd rows (2x3), of odd columns (3x2) and of both (2x2). The names
        of these public layouts are known; rename others to one of them:

        ============================  =======================  =========================  ===============
        part                          plain, sparse-to-depth   plain, most ports          four kernels
        ============================  =======================  =========================  ===============
        kernel or kernels             upper_branch.conv1       conv1                      conv1_1 ... 4
        its batch norm, then ReLU     upper_branch.batchnorm1  bn1                        bn1_1
        3x3 kernel                    upper_branch.conv2       conv1_2                    conv3
        its batch norm                upper_branch.batchnorm2  bn1_2                      bn2
        shortcut: kernel or kernels   bottom_branch.conv       conv2                      conv2_1 ... 4
        its batch norm                bottom_branch.batchnorm  bn2                        bn1_2
        ============================  =======================  =========================  ===============

        The fourth is that of the authors' program, without the name of the layer in front: ``br1_ConvA`` to
        ``br1_ConvD``, ``br1_BN``, ``Conv``, ``BN``, ``br2_ConvA`` to ``br2_ConvD`` and ``br2_BN``, with the tensors
        named and shaped as PyTorch has them.

        Args:
            weights: the state dict of one block, by the names above, each with ``.weight`` and the rest of a PyTorch
                convolution or batch norm. Biases of convolutions go into the running means; four kernels need the same
                one.
            padding: where B, C and D pad the map with zeros. ``"trailing"`` is the unpooling by zeros, value at the top
                left. ``"leading"``, rows before and columns to the left, is what the authors' program does and ports
                of it do; no 5x5 kernel computes that, so that the kernel of the result is 6x6.
            eps: of the batch norms of the network that was trained.

        Raises:
            ValueError: if the names are of no known layout, or a shape or an option does not fit.
            TypeError: if ``weights`` is no mapping, or ``eps`` no number.

        Example:
            >>> import torch
            >>> from depthattn import UpProjection
            >>> norm = {"weight": torch.ones(4), "bias": torch.zeros(4)}
            >>> norm |= {"running_mean": torch.zeros(4), "running_var": torch.ones(4)}
            >>> block = {f"conv{i}.weight": torch.rand(4, 8, 5, 5) for i in (1, 2)}
            >>> block |= {"conv1_2.weight": torch.rand(4, 4, 3, 3)}
            >>> for name in ("bn1", "bn1_2", "bn2"):
            ...     block |= {f"{name}.{key}": value for key, value in norm.items()}
            >>> up = UpProjection.from_fcrn(block).eval()
            >>> up(torch.rand(2, 8, 5, 6)).shape
            torch.Size([2, 4, 10, 12])
        """
        checks.check_choice("UpProjection.from_fcrn", "padding", padding, get_args(FcrnPadding))
        checks.check_number("UpProjection.from_fcrn", "eps", eps, above=0)
        state = converted(weights, padding)
        kernel = state["unpool_conv.weight"]
        up = cls(kernel.shape[0], kernel.shape[1] // 2)
        if padding == "leading":
            up.unpool_conv = nn.ConvTranspose2d(up.in_channels, kernel.shape[1], 6, stride=2, padding=2, bias=False)
        wrong = [key for key, value in state.items() if value.shape != up.state_dict()[key].shape]
        if wrong:
            raise ValueError(
                f"UpProjection.from_fcrn: expected parts for {up.in_channels} channels in and {up.out_channels} out, "
                f"got others for {', '.join(wrong)}"
            )
        up.unpool_norm.eps = up.norm.eps = eps
        up.to(kernel.device, kernel.dtype).load_state_dict(state, strict=False)
        return up

    def reset_parameters(self) -> None:
        """Draw the kernels at random, He-normal for each phase of the 5x5 kernel.

        The four phases have 9, 6, 6 and 4 inputs. One standard deviation for all of them would give a checkerboard.
        """
        for row in (0, 1):
            for column in (0, 1):
                phase = self.unpool_conv.weight.data[:, :, row::2, column::2]
                taps = phase.shape[2] * phase.shape[3]
                phase.normal_(0.0, (2.0 / (self.in_channels * taps)) ** 0.5)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.unpool_norm.reset_parameters()
        self.norm.reset_parameters()

    @traced_quietly
    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Double the resolution of ``x``.

        Args:
            x: features (B, in_channels, h, w).
            size: (height, width) of the result, each 2h or 2h - 1 (2w or 2w - 1): an encoder that halves an odd size
                rounds up, and the last row or column of the doubled map then lies outside the image and is cropped,
                before batch statistics are taken. None means (2h, 2w).

        Returns:
            The map (B, out_channels, height, width).
        """
        x = checks.plain(x)
        _check_features(x, self.in_channels)
        y = _cropped(self.unpool_conv(x), size)
        residual, shortcut = self.unpool_norm(y).chunk(2, dim=1)
        return F.relu(self.norm(self.conv(F.relu(residual))) + shortcut)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"


# torch.fx cannot follow the conditions on shapes in these; they are one step each of a graph that it draws.
@torch.fx.wrap
def _check_features(x: Tensor, channels: int) -> None:
    checks.check_float("UpProjection", "x", x)
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"UpProjection: expected x of shape (B, {channels}, h, w), got {tuple(x.shape)}")


@torch.fx.wrap
def _cropped(y: Tensor, size: Sequence[int] | None) -> Tensor:
    """The first rows and columns of a doubled map, which loses one of each at most."""
    if size is None:
        return y
    if isinstance(size, Sequence) and is_symbolic(size):
        # A slice asks whether it cuts anything off, and the answer at the traced size would bind the exported
        # program to it. Indices ask nothing.
        rows, columns = (torch.arange(side, device=y.device) for side in size)
        return y.index_select(2, rows).index_select(3, columns)
    size = checks.image_size("UpProjection", size)
    full = tuple(y.shape[2:])
    if not all(side - 1 <= wanted <= side for wanted, side in zip(size, full, strict=True)):
        raise ValueError(f"UpProjection: expected size to be {full} or up to one less on each side, got {tuple(size)}")
    return y[:, :, : size[0], : size[1]]


def is_symbolic(size: Sequence[int]) -> bool:
    """Whether torch.export traces ``size`` for any value, not only for the one of the example."""
    return any(isinstance(side, torch.SymInt) for side in size)
