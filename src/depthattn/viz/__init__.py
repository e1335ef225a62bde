"""Pictures of depth, labels, attention and training: needs the extra ``train`` (matplotlib)."""

from depthattn.viz.attention import AttentionMaps, attention_maps
from depthattn.viz.colours import MISSING_VALUE, colour_attention, colour_depth, colour_labels
from depthattn.viz.curves import Panel, plot_curves
from depthattn.viz.palette import IGNORED_LABEL, label_palette
from depthattn.viz.sheet import Frame, contact_sheet

__all__ = [
    "IGNORED_LABEL",
    "MISSING_VALUE",
    "AttentionMaps",
    "Frame",
    "Panel",
    "attention_maps",
    "colour_attention",
    "colour_depth",
    "colour_labels",
    "contact_sheet",
    "label_palette",
    "plot_curves",
]
