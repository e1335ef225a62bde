"""How far away the pixels of a data set are: the histogram of depth, and where its long tail begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthattn.viz.axes import REFERENCE_COLOUR, SERIES_COLOURS, legend_below, new_figure, style_axes

_BODY_COLOUR, _TAIL_COLOUR = SERIES_COLOURS[:2]


@dataclass(frozen=True)
class DepthHistogram:
    r"""A histogram of true depth with bins of equal width from 0 to ``max_depth``; ``+`` adds two of them.

    Args:
        max_depth: metres where the last bin ends.
        counts: pixels of each bin, (N,): bin i holds :math:`i w \le g < (i+1) w`, with :math:`w` = ``max_depth`` / N;
            the last one also its upper end.
        beyond: pixels farther than ``max_depth``.
        missing: pixels without a depth.

    Raises:
        ValueError: adding a histogram of other bins.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import DepthHistogram
        >>> near = DepthHistogram.of(np.array([[0.5, 1.5, 0.0]]), max_depth=4.0, bins=4)
        >>> far = DepthHistogram.of(np.array([[3.5, 9.0]]), max_depth=4.0, bins=4)
        >>> (near + far).counts.tolist()
        [1, 1, 0, 1]
    """

    max_depth: float
    counts: npt.NDArray[np.int64]
    beyond: int = 0
    missing: int = 0

    @classmethod
    def of(cls, depth: torch.Tensor | npt.NDArray[Any], *, max_depth: float, bins: int = 100) -> DepthHistogram:
        """Count the pixels of depth maps.

        Args:
            depth: metres, any shape; a pixel that is not finite or not above 0 is missing.
            max_depth: metres where the last bin ends.
            bins: number of bins.

        Returns:
            Their histogram.

        Raises:
            ValueError: ``max_depth`` not above 0, or no bins.
        """
        if not 0 < max_depth < math.inf or bins < 1:
            raise ValueError(f"DepthHistogram: expected max_depth > 0 and bins >= 1, got {max_depth} and {bins}")
        values = (depth.detach().cpu().numpy() if isinstance(depth, torch.Tensor) else np.asarray(depth)).ravel()
        measured = values[np.isfinite(values) & (values > 0)].astype(np.float64)
        counts = np.histogram(measured, bins=bins, range=(0.0, max_depth))[0]
        return cls(max_depth, counts, int(np.count_nonzero(measured > max_depth)), values.size - measured.size)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Ends of the bins in metres, (N + 1,)."""
        return np.linspace(0.0, self.max_depth, len(self.counts) + 1)

    @property
    def measured(self) -> int:
        """Pixels with a depth."""
        return int(self.counts.sum()) + self.beyond

    def __add__(self, other: DepthHistogram) -> DepthHistogram:
        if (self.max_depth, len(self.counts)) != (other.max_depth, len(other.counts)):
            raise ValueError(
                f"DepthHistogram: expected the same bins, got {len(self.counts)} up to {self.max_depth:g} m "
                f"and {len(other.counts)} up to {other.max_depth:g} m"
            )
        return DepthHistogram(
            self.max_depth,
            self.counts + other.counts,
            self.beyond + other.beyond,
            self.missing + other.missing,
        )

    def quantile(self, share: float) -> float:
        """Depth in metres below which ``share`` of the measured pixels lie, interpolated inside its bin.

        Args:
            share: in [0, 1]; 0.5 asks for the median.

        Returns:
            The depth; ``max_depth`` where it lies farther than the bins, NaN if nothing was measured.

        Raises:
            ValueError: a share outside [0, 1].

        Example:
            >>> import numpy as np
            >>> from depthattn.viz import DepthHistogram
            >>> DepthHistogram(4.0, np.array([2, 4, 1, 1])).quantile(0.5)
            1.5
        """
        if not 0 <= share <= 1:
            raise ValueError(f"DepthHistogram.quantile: expected a share in [0, 1], got {share}")
        if not self.measured:
            return math.nan
        below = np.concatenate([[0], np.cumsum(self.counts)])
        wanted = share * self.measured
        if wanted >= below[-1]:
            # The farthest end of what was counted: empty bins behind it hold no pixel.
            last = self.max_depth if self.beyond else self.edges[np.flatnonzero(self.counts)[-1] + 1]
            return float(last)
        index = int(np.searchsorted(below, wanted, side="right")) - 1
        inside = (wanted - below[index]) / self.counts[index]
        return float(self.edges[index] + inside * (self.edges[index + 1] - self.edges[index]))


def plot_depth_histogram(
    histogram: DepthHistogram, *, tail: float = 0.1, log: bool = False, size: tuple[float, float] = (5.0, 3.7)
) -> Any:
    """Draw the share of pixels by depth as bars, or as dots on a logarithmic axis; the long tail has another colour.

    Args:
        histogram: what to draw.
        tail: the share of farthest pixels that is the tail: it begins at ``histogram.quantile(1 - tail)``.
        log: whether the shares have a logarithmic axis, on which a tail that is long but thin can be seen.
        size: width and height in inches.

    Returns:
        A ``matplotlib.figure.Figure``; nothing is registered with pyplot.

    Raises:
        ValueError: a histogram without a measured pixel, or a tail outside (0, 1).

    Example:
        >>> import torch
        >>> from depthattn.viz import DepthHistogram, plot_depth_histogram
        >>> histogram = DepthHistogram.of(torch.rand(64, 64) * 9, max_depth=10.0)
        >>> figure = plot_depth_histogram(histogram)
        >>> figure.axes[0].get_xlabel()
        'true depth in m'
    """
    if not 0 < tail < 1:
        raise ValueError(f"plot_depth_histogram: expected a tail in (0, 1), got {tail}")
    if not histogram.measured:
        raise ValueError("plot_depth_histogram: expected pixels with a depth, got none")
    figure = new_figure(size, "plot_depth_histogram")
    axes = figure.add_subplot()
    edges, start = histogram.edges, histogram.quantile(1 - tail)
    share = 100.0 * histogram.counts / histogram.measured
    middles = (edges[:-1] + edges[1:]) / 2
    first = int(np.searchsorted(middles, start, side="right"))
    for part, colour, text in (
        (slice(first), _BODY_COLOUR, f"nearest {1 - tail:.0%}"),
        (slice(first, None), _TAIL_COLOUR, f"farthest {tail:.0%}: > {start:.2f} m"),
    ):
        if log:
            # A bar has no length where the axis has no 0.
            seen = share[part] > 0
            axes.plot(middles[part][seen], share[part][seen], "o", markersize=4, color=colour, label=text)
        elif len(share[part]):
            # One outline: between bars of their own, the page would show through.
            ends = np.append(edges[:-1][part], edges[1:][part][-1])
            axes.stairs(share[part], ends, fill=True, color=colour, label=text)
    axes.axvline(start, color=REFERENCE_COLOUR, linestyle="--", linewidth=1.2)
    style_axes(axes, xlabel="true depth in m", ylabel=f"% of pixels per {edges[1]:.2g} m", grid="y")
    axes.set_xlim(0.0, histogram.max_depth)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    legend_below(axes)
    return figure
