"""Figures of depth, labels, attention and training: needs the extra ``train`` (matplotlib)."""

from depthattn.viz.attention import AttentionMaps, attention_maps
from depthattn.viz.bins import plot_depth_bins
from depthattn.viz.colours import MISSING_VALUE, colour_attention, colour_depth, colour_error, colour_labels
from depthattn.viz.curves import Panel, plot_curves
from depthattn.viz.histogram import DepthHistogram, plot_depth_histogram
from depthattn.viz.palette import IGNORED_LABEL, label_palette
from depthattn.viz.point_cloud import View, back_project, plot_point_clouds, seen_from
from depthattn.viz.sheet import Frame, contact_sheet

__all__ = [
    "IGNORED_LABEL",
    "MISSING_VALUE",
    "AttentionMaps",
    "DepthHistogram",
    "Frame",
    "Panel",
    "View",
    "attention_maps",
    "back_project",
    "colour_attention",
    "colour_depth",
    "colour_error",
    "colour_labels",
    "contact_sheet",
    "label_palette",
    "plot_curves",
    "plot_depth_bins",
    "plot_depth_histogram",
    "plot_point_clouds",
    "seen_from",
]
