"""Peak memory and time of a training step, beside the same network with naive layers and losses.

    python benchmarks/training_step.py [--size H W] ... [--encoder NAME] [--device cpu|cuda] [--output DIR]

A step is the forward pass, the losses and the gradients of all weights. Textbook means lateral sharing and up-skips as
their formulas under autograd, logits resized to the image, and the three losses as their formulas. Both sides have the
same weights and images, and nothing is timed unless their losses and gradients agree. Exit code 0, 1 if they differ, 2
for a wrong argument.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks import formulas, machine, results
from benchmarks.inputs import IGNORE_INDEX, Inputs, Tensors
from benchmarks.measure import MEMORY_METHOD, Run, Schedule, differentiate, interleaved, peak_memory, summary
from depthattn import AttentionDrivenLoss, SemanticFocalLoss, SynergyNet

SIZES = ((228, 304), (480, 640))
BATCH = 2
NUM_CLASSES = 40
# Of the largest gradient of each weight: float32 sums over millions of pixels in two orders.
_BOUND = 2e-3
_FOLDER = "training_step"


class TextbookSharing(nn.Module):
    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.weight = unit.weight

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        return formulas.share(features, torch.stack(tuple(self.weight)))


class TextbookUpSkip(nn.Module):
    def __init__(self, skip: nn.Module) -> None:
        super().__init__()
        self.projections, self.smooth = skip.projections, skip.smooth

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        projected = [project(feature) for project, feature in zip(self.projections, features, strict=True)]
        return self.smooth(formulas.merge(projected, size))


def naive_of(model: SynergyNet) -> SynergyNet:
    """The same network, weights under the same names, with the layers as their formulas."""
    other = copy.deepcopy(model)
    other.upsample_semantics = "always"
    for level, unit in enumerate(other.sharing_units):
        other.sharing_units[level] = TextbookSharing(unit)
    for decoder in (other.depth_decoder, other.semantic_decoder):
        decoder.up_skip = TextbookUpSkip(decoder.up_skip)
    return other


def weights_of(tensors: Tensors) -> Tensors:
    return {name.removeprefix("weight "): t for name, t in tensors.items() if name.startswith("weight ")}


def ours(model: SynergyNet) -> Run:
    loss = AttentionDrivenLoss(semantic_focal=SemanticFocalLoss(upsample="bilinear"))

    def run(t: Tensors) -> tuple[Tensor, ...]:
        output = functional_call(model, weights_of(t), (t["image"],))
        return (loss(output.depth, output.semantics, t["depth"], t["labels"]).total,)

    return run


def naive(model: SynergyNet) -> Run:
    network = naive_of(model)

    def run(t: Tensors) -> tuple[Tensor, ...]:
        output = functional_call(network, weights_of(t), (t["image"],))
        maps = {"pred": output.depth[:, 0], "target": t["depth"][:, 0], "labels": t["labels"]}
        (depth,) = formulas.attention_depth(maps)
        (labels,) = formulas.semantic_focal({"logits": output.semantics, "labels": t["labels"]})
        return (depth + labels,)

    return run


def inputs_of(model: SynergyNet, size: tuple[int, int], device: torch.device) -> Inputs:
    """Images, depth with holes and labels with gaps; the weights of ``model`` are what is differentiated by."""
    random = torch.Generator().manual_seed(0)
    height, width = size
    depth = 0.5 + 9.0 * torch.rand(BATCH, 1, height, width, generator=random)
    depth[:, :, : height // 8] = 0.0
    # Regions of one class, as rooms have them: the loss on gradients only counts windows inside one.
    regions = torch.randint(0, NUM_CLASSES, (BATCH, 1, -(-height // 16), -(-width // 16)), generator=random)
    labels = regions.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, 0, :height, :width].clone()
    labels[:, -(height // 8) :] = IGNORE_INDEX
    tensors = {"image": torch.rand(BATCH, 3, height, width, generator=random), "depth": depth, "labels": labels}
    weights = {f"weight {name}": p.detach().clone() for name, p in model.named_parameters()}
    tensors |= {name: weight.requires_grad_() for name, weight in weights.items()}
    tensors = {name: t.detach().to(device).requires_grad_(t.requires_grad) for name, t in tensors.items()}
    # Only what the last map depends on has a gradient.
    return Inputs(tensors, tuple(weights), (torch.ones((), device=device),))


def disagreement(mine: Run, theirs: Run, inputs: Inputs) -> str | None:
    """Where the two sides differ by more than rounding, in words."""
    a, b = differentiate(mine, inputs), differentiate(theirs, inputs)
    if not torch.allclose(a.values[0], b.values[0], rtol=1e-5, atol=0.0):
        return f"loss: expected {float(b.values[0]):.7g}, got {float(a.values[0]):.7g}"
    for name, x, y in zip(inputs.differentiate, a.gradients, b.gradients, strict=True):
        worst = float((x - y).abs().max())
        if not worst <= _BOUND * float(max(g.abs().max() for g in b.gradients)):
            return f"gradient of {name}: expected an error of at most {_BOUND:g} of the largest, got {worst:.3g}"
    return None


def measure(size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    torch.manual_seed(0)
    model = SynergyNet(
        options.encoder, NUM_CLASSES, decoder_channels=options.decoder_channels, upsample_semantics="eval"
    )
    model.to(device)
    inputs = inputs_of(model, size, device)
    # The network's own copy of the weights is only a shell around those of the inputs.
    runs = {"depthattn": ours(model), "naive": naive(model)}
    problem = disagreement(runs["depthattn"], runs["naive"], inputs)
    record: dict[str, Any] = {
        "size": list(size), "batch": BATCH, "encoder": options.encoder, "classes": NUM_CLASSES,
        "decoder_channels": list(options.decoder_channels), "problem": problem,
    }  # fmt: skip
    if problem is not None:
        return record
    schedule = Schedule(warmup=1, seconds=options.seconds, least=3, most=30, input_sets=1)
    samples = interleaved(runs, inputs, device, schedule, lambda done: None)
    for name, run in runs.items():
        record[name] = {
            "milliseconds": {part: summary(values) for part, values in samples[name].items()},
            "rounds": len(samples[name]["both"]),
            "peak_bytes": peak_memory(run, inputs, device),
        }
    return record


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/training_step.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, action="append", metavar=("H", "W"),
                        help="image size, may be repeated; 228 304 and 480 640 by default")  # fmt: skip
    parser.add_argument("--encoder", default="resnet50", metavar="NAME", help="resnet50 by default")
    parser.add_argument("--decoder-channels", type=int, nargs="+", default=(512, 256, 128, 64), metavar="C")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="time to measure a size for; 60")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=results.DEFAULT, metavar="DIR",
                        help="where result files go; benchmarks/results by default")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: expected a CUDA device, got a machine or a PyTorch without one")
    options.size = tuple(map(tuple, options.size or SIZES))
    return options


def line_of(record: dict[str, Any]) -> str:
    title = f"{record['encoder']}, {BATCH} x {record['size'][0]}x{record['size'][1]}"
    if record["problem"] is not None:
        return f"{title}: {record['problem']}"
    sides = [record[name] for name in ("depthattn", "naive")]
    time, theirs = (side["milliseconds"]["both"]["median"] for side in sides)
    memory, other = (side["peak_bytes"]["both"] / 2**20 for side in sides)
    return (
        f"{title}: {time:.0f} ms ({theirs:.0f} naive, {theirs / time:.2f}x), "
        f"peak {memory:.0f} MiB ({other:.0f} naive, {memory / other:.2f}x)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device(options.device)
    load_before = os.getloadavg()[0]
    records = []
    try:
        for size in options.size:
            records.append(measure(size, options))
            print(line_of(records[-1]), flush=True)
        result = {
            "machine": machine.describe(device),
            "load_average": {"before": load_before, "after": os.getloadavg()[0]},
            "versions": machine.versions(),
            "commit": machine.commit(),
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "memory_method": MEMORY_METHOD[device.type],
            "steps": records,
        }
        # In a folder of its own: the page of the operations takes every file beside it for a run of run.py.
        path = options.output / result["machine"]["slug"] / _FOLDER / f"{result['date'][:10]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results.rounded(result), indent=1, allow_nan=False) + "\n")
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"benchmarks/training_step.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {path}")
    return int(any(record["problem"] is not None for record in records))


if __name__ == "__main__":
    sys.exit(main())
