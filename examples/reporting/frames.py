"""The sections of pictures: best, median and worst frames, attention maps, and a point cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.colors import to_hex

from depthattn.data import Sample
from depthattn.data.rooms.raycast import focal_length
from depthattn.viz import (
    IGNORED_LABEL,
    DepthHistogram,
    View,
    attention_maps,
    colour_attention,
    colour_error,
    colour_labels,
    label_palette,
    plot_point_clouds,
)
from depthattn.viz.colours import (
    ATTENTION_COLOURMAP,
    DEPTH_COLOURMAP,
    attention_norm,
    depth_norm,
    error_colourmap,
    error_norm,
)
from depthattn.viz.ranges import error_top
from reporting.charts import CHART, colour_bar, depth_uri, inline_svg, map_uri, photo_uri
from reporting.measure import FrameScore, Measured, Predict, extremes, ranked
from reporting.page import Section, figure, grid, paragraph, picture, text
from training.settings import Settings
from training.sources import Source

_DEPTH_TICKS = (0.5, 1, 2, 5, 10, 20, 40, 80)


@dataclass(frozen=True)
class Shown:
    """A validation frame and what the network says to it."""

    score: FrameScore
    sample: Sample
    depth: torch.Tensor
    classes: torch.Tensor

    @property
    def truth(self) -> torch.Tensor:
        return self.sample["depth"]

    @property
    def error(self) -> torch.Tensor:
        """Prediction minus ground truth in metres, (1, H, W); NaN without ground truth."""
        valid = torch.isfinite(self.truth) & (self.truth > 0)
        return torch.where(valid, self.depth - self.truth, math.nan)


class FramePages:
    """The frames that the page shows, read and predicted once.

    Args:
        source: the frames to choose from are those to score.
        measured: their scores.
        settings: of the run: the range of depth and the attention's options.
        predict: depth and classes of images.
    """

    def __init__(
        self,
        source: Source,
        measured: Measured,
        settings: Settings,
        predict: Predict,
    ) -> None:
        self._settings, self._names, self._measured = settings, source.class_names, measured
        self._focal = source.focal
        order, self._left_out = ranked(measured.frames)
        self._groups = {
            name: [_shown(score, source.validation[score.index], predict) for score in scores]
            for name, scores in extremes(order).items()
        }
        self._low, self._high = _shown_range(measured.histogram)

    def sheets(self) -> Section:
        title = "Best, median and worst frames"
        if not self._groups:
            return Section("frames", title, paragraph("No validation frame has ground truth.", "note"))
        top = error_top(self._measured.scores["rmse"])
        groups = []
        for name, frames in self._groups.items():
            rows = [grid(self._tiles(frame, top), "tiles-row") for frame in frames]
            groups.append(f"<h3>{text(name.capitalize())}</h3>" + "".join(rows))
        ranking = "RMSE" if self._measured.has_depth else "the share of wrong labels, as there is no true depth"
        caption = (
            f"Frames of the validation set ranked by {ranking}. White: no true depth. Errors are prediction minus "
            "ground truth: blue is too near, orange too far, dark is right. What to look for: whether the worst frames "
            "have something in common, and whether errors lie along edges or on whole surfaces."
            + (f" Frames left out for lack of ground truth: {self._left_out}." if self._left_out else "")
        )
        bars = self._depth_bars(top) if self._measured.has_depth else []
        legend = grid(bars, "bars") + (self._legend() if self._measured.has_labels else "")
        return Section("frames", title, figure(legend + "".join(groups), caption))

    def attention(self) -> Section:
        title = "Where the depth-aware loss looks"
        frame = self._middle()
        if frame is None:
            return Section("attention", title, paragraph("No validation frame has true depth.", "note"))
        settings = self._settings
        maps = attention_maps(frame.depth, frame.truth, max_depth=settings.max_depth, log_offset=settings.log_offset)
        means = [float(part.nanmean()) for part in maps]
        # A sum that stays far below its limit of 2 would be a dark image.
        top = max(0.1, math.ceil(10 * float(maps.total.nan_to_num(0).max())) / 10)
        number = frame.score.index
        titles = ("α_D: how far", "λ_D: how wrong", "α_D + λ_D")
        tiles = [
            picture(photo_uri(frame.sample["image"]), "image", number),
            picture(depth_uri(frame.truth, self._low, self._high), "true depth", number),
            picture(depth_uri(frame.depth, self._low, self._high), "predicted depth", number),
            *(
                picture(map_uri(colour_attention(part, top=top)), name, number, f"mean {mean:.3f}")
                for name, part, mean in zip(titles, maps, means, strict=True)
            ),
        ]
        ticks = np.linspace(0, top, 5).round(3).tolist()
        bar = colour_bar(attention_norm(top), ATTENTION_COLOURMAP, ticks, "weight in the loss (no unit)")
        caption = (
            f"Frame {frame.score.index} of the validation set, of median error. The loss of each pixel is its depth "
            f"error times α_D + λ_D: α_D is true depth over {settings.max_depth:g} m, λ_D goes from 0 where the "
            "prediction is right to 1 where it is wrong. All three have one scale. What to look for: bright far walls, "
            "and bright places in λ_D, which are those the loss still works on."
        )
        return Section("attention", title, figure(grid(tiles, "tiles-row") + grid([bar], "bars"), caption))

    def cloud(self) -> Section:
        title = "Point cloud"
        frame = self._middle()
        if frame is None:
            return Section("cloud", title, paragraph("No validation frame has true depth.", "note"))
        known = self._focal(frame.score.index)
        focal = focal_length(self._settings.size) if known is None else known
        # Only what the ground truth holds is shown of the prediction, so that the two can be compared.
        depths = {"true depth": frame.truth, "predicted depth": torch.where(frame.truth > 0, frame.depth, 0)}
        # Seen from above, whatever is higher than the camera, as the ceiling is, would hide the rest.
        lower = {name: depth.clone() for name, depth in depths.items()}
        for depth in lower.values():
            depth[:, : depth.shape[-2] // 2] = 0
        shown = [
            ("from above, to the left", View(yaw=35, pitch=30), depths),
            ("straight from above", View(yaw=0, pitch=90), lower),
        ]
        charts = [
            f"<div><h3>{text(name.capitalize())}</h3>"
            + inline_svg(
                plot_point_clouds(frame.sample["image"], maps, focal=focal, view=view, width=CHART[0]),
                f"cloud{index}",
                f"Points of true and predicted depth seen {name}, in metres",
            )
            + "</div>"
            for index, (name, view, maps) in enumerate(shown)
            if (maps["true depth"] > 0).any()
        ]
        origin = "assumed, that of a Kinect, as the data do not say" if known is None else "the camera's at this size"
        caption = (
            f"Frame {frame.score.index} back-projected with a focal length of {focal:.1f} pixels ({origin}), in the "
            "colours of the image, without perspective; the triangle is the camera and the axes are metres. The view "
            "from above leaves out what is higher than the camera. What to look for: straight walls that meet at right "
            "angles, furniture that stands off the wall, and the scale of the room; a prediction can look right as a "
            "depth map and be bent here."
        )
        return Section("cloud", title, figure(grid(charts, "charts clouds"), caption))

    def _tiles(self, frame: Shown, top: float) -> list[str]:
        low, high = self._low, self._high
        score, classes = frame.score, len(self._names)
        number = score.index
        tiles = [picture(photo_uri(frame.sample["image"]), "image", number, f"frame {number}")]
        if self._measured.has_depth:
            note = (
                f"RMSE {score.rmse:.2f} m, AbsRel {score.abs_rel:.3f}" if math.isfinite(score.rmse) else "no true depth"
            )
            tiles += [
                picture(depth_uri(frame.truth, low, high), "true depth", number),
                picture(depth_uri(frame.depth, low, high), "predicted depth", number, note),
                picture(map_uri(colour_error(frame.error, top=top)), "depth error", number),
            ]
        if self._measured.has_labels:
            note = f"{score.right:.0%} of pixels right" if math.isfinite(score.right) else "no true labels"
            tiles += [
                picture(map_uri(colour_labels(frame.sample["labels"], classes)), "true labels", number),
                picture(map_uri(colour_labels(frame.classes, classes)), "predicted labels", number, note),
            ]
        return tiles

    def _depth_bars(self, top: float) -> list[str]:
        low, high = self._low, self._high
        ticks = [low, *(tick for tick in _DEPTH_TICKS if 1.3 * low < tick < high / 1.3), high]
        error_ticks = (-top, -top / 2, 0, top / 2, top)
        return [
            colour_bar(
                depth_norm(low, high),
                DEPTH_COLOURMAP,
                ticks,
                "depth in m, logarithmic (white: none)",
                saturates="both",
            ),
            colour_bar(
                error_norm(top),
                error_colourmap(),
                error_ticks,
                "depth error in m",
                saturates="both",
            ),
        ]

    def _legend(self) -> str:
        frames = [frame for group in self._groups.values() for frame in group]
        labels = torch.cat([part.flatten() for frame in frames for part in (frame.sample["labels"], frame.classes)])
        palette = label_palette(len(self._names)) / 255.0
        named = [(self._names[index], to_hex(palette[index])) for index in labels[labels >= 0].unique().tolist()]
        named.append(("(no label)", to_hex(np.array(IGNORED_LABEL) / 255.0)))
        chips = (f'<li><span style="background:{colour}"></span>{text(name)}</li>' for name, colour in named)
        return f'<ul class="legend">{"".join(chips)}</ul>'

    def _middle(self) -> Shown | None:
        """The frame of median depth error."""
        frames = next((self._groups[name] for name in ("median", "all") if name in self._groups), [])
        frame = frames[len(frames) // 2] if frames else None
        return frame if frame is not None and math.isfinite(frame.score.rmse) else None


def _shown_range(histogram: DepthHistogram) -> tuple[float, float]:
    """Metres of the darkest and the brightest depth: those that nearly all of the training set lies between."""
    if not histogram.measured:
        return histogram.max_depth / 20, histogram.max_depth
    low = float(f"{max(histogram.quantile(0.005), histogram.max_depth / 100):.1g}")
    high = float(f"{histogram.quantile(0.995):.2g}")
    return low, max(high, 2 * low)


def _shown(score: FrameScore, sample: Sample, predict: Predict) -> Shown:
    depth, classes = predict(sample["image"][None])
    return Shown(score, sample, depth[0].float(), classes[0])
