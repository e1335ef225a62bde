"""From photos on the command line to pictures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch.nn.functional import interpolate

from prediction.network import Trained, load_trained
from prediction.photos import read_photo
from prediction.pictures import picture_paths, write_pictures
from prediction.settings import PROGRAM, Settings, parse
from scripting.console import exit_status, frame_progress, new_console
from scripting.failures import FAILED, explain
from scripting.messages import say_alone
from scripting.outputs import check_output

_MULTIPLE = 32
_SMALLER = "a smaller --size or photo"


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; returns the exit status."""
    return exit_status(PROGRAM, lambda: _predict(parse(argv)), "the images of finished photos are kept", _SMALLER)


def _predict(settings: Settings) -> int:
    check_output("--output", settings.output)
    predictor = Predictor(load_trained(settings.checkpoint), settings.size)
    made = not settings.output.exists()
    settings.output.mkdir(parents=True, exist_ok=True)
    try:
        return _predict_all(predictor, settings, new_console())
    finally:
        if made and not any(settings.output.iterdir()):
            settings.output.rmdir()


def _predict_all(predictor: Predictor, settings: Settings, console: Console) -> int:
    """Write the pictures of every photo that can be read; returns the exit status."""

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    refused: dict[Path, str] = {}
    files = 0
    with frame_progress(console) as progress:
        for text in predictor.trained.summary():
            line(text)
        task = progress.add_task("", total=len(settings.photos))
        for photo in settings.photos:
            progress.update(task, description=photo.name)
            try:
                paths = picture_paths(photo.stem, settings.output, labelled=bool(predictor.trained.class_names))
                pixels = read_photo(photo)
                depth, labels = predictor.predict(pixels)
            except Exception as error:
                # Any kind: what explain() finds no user's situation in is a fault of the program, and raised again.
                explained = explain(error, _SMALLER)
                if explained is None:
                    raise
                refused[photo] = explained[0].removeprefix(f"{photo}: ")
            else:
                names = predictor.trained.class_names
                write_pictures(paths, pixels, depth, labels, class_names=names, max_depth=settings.max_depth)
                files += len(paths)
                line(f"{photo.name}: {', '.join(path.name for path in paths.values())}")
            progress.advance(task)
    count = len(settings.photos)
    done = f"{count - len(refused)} of {count}" if refused else str(count)
    line(f"{done} photo{'s' * (count > 1)}, {files} images in {settings.output}")
    if not refused:
        return 0
    say_alone(f"{PROGRAM}: {len(refused)} of {count} photo{'s' * (count > 1)} could not be predicted:")
    for photo, reason in refused.items():
        say_alone(f"  {photo}: {reason}")
    return FAILED


class Predictor:
    """A trained network, ready for photos.

    Args:
        trained: the network.
        size: of the pictures that it sees; None for that of its training.
    """

    def __init__(self, trained: Trained, size: tuple[int, int] | None) -> None:
        self.trained = trained
        self.size = size or trained.size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = trained.net.optimize_for_inference().to(self.device)

    @torch.inference_mode()
    def predict(self, photo: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Depth in metres and classes, both (H, W), of an RGB photo (H, W, 3)."""
        image = torch.from_numpy(photo).to(self.device).permute(2, 0, 1).unsqueeze(0).float() / 255
        seen = interpolate(image, self._seen_size(image), mode="bilinear", antialias=True)
        output = self.net(seen.contiguous(memory_format=torch.channels_last))
        depth, logits = (interpolate(part, image.shape[-2:], mode="bilinear", align_corners=False) for part in output)
        return depth[0, 0].float().cpu().numpy(), logits[0].argmax(0).cpu().numpy()

    def _seen_size(self, image: torch.Tensor) -> tuple[int, int]:
        """Where training's size is not known either, the photo's own, to the next multiple of the encoder's stride."""
        if self.size is not None:
            return self.size
        height, width = (max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE) for side in image.shape[-2:])
        return height, width
