"""
Gates while a network trains
============================

The gates of a lateral sharing unit start at zero, where the unit is the identity, and move as far as sharing helps.
Here a small SynergyNet trains for a few seconds on synthetic rooms. ``model.gates()`` is all that it takes to log
them. So short a run shows how to watch gates, not what they become.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SynergyNet
from depthattn.data import SyntheticRooms

torch.manual_seed(0)
steps = 60
encoder = nn.Sequential(
    *(
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in pairwise((3, 16, 32, 64, 64))
    )
)
model = SynergyNet(encoder, num_classes=14, decoder_channels=(32, 16, 16))
criterion = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), JointGradientLoss(), weights=(1.0, 0.1, 1.0))
sharing = [p for name, p in model.named_parameters() if name.startswith("sharing_units")]
rest = [p for name, p in model.named_parameters() if not name.startswith("sharing_units")]
optimizer = torch.optim.Adam([{"params": rest, "lr": 3e-3}, {"params": sharing, "lr": 1e-2}])

history = []
rooms = list(SyntheticRooms(96, size=(48, 64)))
loader = DataLoader(rooms, batch_size=8, sampler=RandomSampler(rooms, num_samples=8 * steps))
for batch in loader:
    depth, semantics = model(batch["image"])
    losses = criterion(depth, semantics, batch["depth"], batch["labels"])
    optimizer.zero_grad()
    losses.total.backward()
    optimizer.step()
    history.append((losses, {name: float(gate) for name, gate in model.gates().items()}))

step = range(1, steps + 1)
figure, (gates, values) = plt.subplots(2, 1, figsize=(5.6, 7.2), sharex=True, height_ratios=(3, 2))
for name in model.gates():
    unit, gate = name.split("/")
    to, source = gate.split("_from_")
    label = f"unit {unit.removeprefix('sharing')}: {to} ← {source}"
    dashes = "-" if to == source else "--"
    gates.plot(step, [row[name] for _, row in history], dashes, label=label, linewidth=1.6)
gates.set(title="Gates (dashed: from the other task)", ylabel="gate")
figure.legend(fontsize=8.5, ncols=2, loc="outside lower center")
for name in ("depth_aware", "semantic_focal"):
    values.plot(step, [float(getattr(losses, name)) for losses, _ in history], label=name.replace("_", " "))
values.set(title="Losses", xlabel="step", ylabel="loss", ylim=(0, None))
values.legend()
figure.set_label(
    "Above, eight gates over 60 steps, a line and a colour each: all start near 0 and drift apart by about a "
    "tenth. Below, the semantic focal loss falls from 2.3 to 0.8, and the depth-aware loss from 0.5 to 0.2."
)
plt.show()
