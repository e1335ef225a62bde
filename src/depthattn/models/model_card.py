"""The model card that lies beside a saved SynergyNet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from depthattn.models.network import SynergyNetwork

CARD = "README.md"

# The digest of the rest of the text: a card that somebody edited no longer has it.
_MARK = re.compile(rb"<!-- depthattn ([0-9a-f]{64}) -->\n\Z")

_FRONT = """\
---
library_name: depthattn
pipeline_tag: depth-estimation
tags: [monocular-depth-estimation, semantic-segmentation, multi-task-learning]
---

# SynergyNet

Depth in metres and semantic labels from one RGB image. The network of "Look Deeper into Depth: Monocular Depth
Estimation with Semantic Booster and Attention-Driven Loss" (Jiao, Cao, Song and Lau, ECCV 2018), in the independent
implementation of the library depthattn. It does not reproduce the paper's numbers.
"""

_USE = """\
## Use

Run `pip install ".[hub]"` in a clone of the depthattn repository, then:

```python
import torch
from depthattn import SynergyNet

model = SynergyNet.from_pretrained("{place}"{encoder})  # in eval mode
image = torch.rand(1, 3, {height}, {width})  # RGB in [0, 1]{size}
with torch.inference_mode():
    depth, semantics = model(image)  # metres (1, 1, H, W); logits (1, {classes}, H, W)
```
"""

_LIMITS = """\
## Limits

The network estimates depth from what it was trained on. With other cameras, fields of view and places its errors are
larger, at far depth most of all. A network trained on synthetic images does not work on photos. Do not use its depth
where safety depends on it. Terms of the training data may apply to the weights; this card does not know them.
"""


def model_card(
    model: SynergyNetwork, class_names: Sequence[str], size: tuple[int, int] | None, notes: str | None
) -> str:
    """Markdown with the front matter that model hubs read, and a last line by which :func:`is_ours` knows it."""
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    height, width = size or (480, 640)
    rows = {
        "encoder": config["encoder"] or f"a module, {_module_name(model)}",
        "decoder channels": ", ".join(map(str, config["decoder_channels"])),
        "lateral sharing": config["sharing"] or "none",
        "semi-dense up-skip": "yes" if config["up_skip"] else "no",
        "encoder skips": "yes" if config["encoder_skips"] else "no",
        "classes": str(model.num_classes),
        "parameters": f"{parameters:.1f} M",
        "image size in training": "not recorded" if size is None else f"{height} x {width}",
    }
    parts = [
        _FRONT,
        "## Model\n\n| | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items()),
        _USE.format(
            place="FOLDER OR HUB ID",
            encoder="" if config["encoder"] else ", encoder=ENCODER",
            height=height,
            width=width,
            size=", of the size it was trained at" if size else "",
            classes=model.num_classes,
        ),
    ]
    if class_names:
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(class_names))
        parts.append(f"## Classes\n\n{listed}\n")
    if notes:
        parts.append(f"## Training and scores\n\n{notes.strip()}\n")
    text = "\n".join([*parts, _LIMITS]) + "\n"
    # Notes may name files, and a name may hold bytes that are no text in any encoding.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{text}<!-- depthattn {hashlib.sha256(text.encode()).hexdigest()} -->\n"


def is_ours(card: bytes) -> bool:
    """Whether a card is as :func:`model_card` wrote it, edited by nobody since."""
    mark = _MARK.search(card)
    return mark is not None and hashlib.sha256(card[: mark.start()]).hexdigest().encode() == mark[1]


def _module_name(model: SynergyNetwork) -> str:
    encoder = getattr(model.encoder, "module", model.encoder)
    return type(encoder).__name__
