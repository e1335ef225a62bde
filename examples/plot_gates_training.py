"""
Gates while a network trains
============================

The gates of a lateral sharing unit start at zero, where each task keeps its own features, and are learned. Here a
small SynergyNet trains for a few seconds on synthetic rooms, and ``model.gates()`` is logged at every step. So short
a run shows how to log gates, and not what they are after a full training.
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


def block(before, after):
    convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


encoder = nn.Sequential(*(block(*pair) for pair in pairwise((3, 16, 32, 64, 64))))
model = SynergyNet(encoder, num_classes=14, decoder_channels=(32, 16, 16))
parts = DepthAwareLoss(max_depth=10.0), JointGradientLoss(semantic_weight=0.0)
criterion = AttentionDrivenLoss(*parts, weights=(1.0, 0.05, 1.0))
sharing = list(model.sharing_units.parameters())
rest = [p for p in model.parameters() if not any(p is gate for gate in sharing)]
groups = {"params": rest, "lr": 3e-3}, {"params": sharing, "lr": 1e-2}
optimizer = torch.optim.Adam(groups)

history = []
rooms = list(SyntheticRooms(96, size=(48, 64)))
sampler = RandomSampler(rooms, num_samples=8 * steps)
loader = DataLoader(rooms, batch_size=8, sampler=sampler)
for batch in loader:
    depth, semantics = model(batch["image"])
    losses = criterion(depth, semantics, batch["depth"], batch["labels"])
    optimizer.zero_grad()
    losses.total.backward()
    optimizer.step()
    gates = {name: float(gate) for name, gate in model.gates().items()}
    history.append((losses, gates))

step = range(1, steps + 1)
figure, (curves, values) = plt.subplots(
    2,
    1,
    figsize=(5.6, 7.2),
    sharex=True,
    height_ratios=(3, 2),
)
for name in model.gates():
    unit, gate = name.split("/")
    to, source = gate.split("_from_")
    label = f"unit {unit.removeprefix('sharing')}: {to} ← {source}"
    dashes = "-" if to == source else "--"
    line = [gates[name] for _, gates in history]
    curves.plot(step, line, dashes, label=label, linewidth=1.6)
curves.set(title="Gates (dashed: from the other task)", ylabel="gate")
figure.legend(fontsize=8.5, ncols=2, loc="outside lower center")
names = {"depth_aware": "depth-aware", "semantic_focal": "semantic focal"}
for part, name in names.items():
    line = [float(getattr(losses, part)) for losses, _ in history]
    values.plot(step, line, label=name)
values.set(title="Losses", xlabel="step", ylabel="loss", ylim=(0, None))
values.legend()
figure.set_label(
    "Above, eight gates over 60 steps, a line and a colour each: all start near 0 and"
    " drift apart by about a tenth. Below, the semantic focal loss falls from 2.3 to "
    "0.8, and the depth-aware loss from 0.5 to 0.2."
)
plt.show()
