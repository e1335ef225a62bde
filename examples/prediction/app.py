"""From photos on the command line to pictures on disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from rich.console import Console
from torch.nn.functional import interpolate

from depthattn._messages import reason_of
from depthattn.data import DataError
from depthattn.data.images import DECODE_ERRORS, FORMATS
from prediction.network import load_trained
from prediction.pictures import write_depth, write_depth_colours, write_labels
from prediction.settings import PROGRAM, Settings, parse
from scripting.console import BAD_INPUT, exit_status, frame_progress

_MULTIPLE = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; returns the exit status."""
    try:
        settings = parse(argv)
    except ValueError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return BAD_INPUT
    return exit_status(PROGRAM, lambda: _predict(settings), f"the finished photos are in {settings.output}")


def _predict(settings: Settings) -> None:
    predictor = Predictor(settings)
    made = not settings.output.exists()
    settings.output.mkdir(parents=True, exist_ok=True)
    try:
        predictor.run()
    finally:
        if made and not any(settings.output.iterdir()):
            settings.output.rmdir()


class Predictor:
    """A network from a checkpoint, ready for photos.

    Args:
        settings: from the command line.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        trained = load_trained(settings.checkpoint)
        self.class_names = trained.class_names
        self.size = settings.size or trained.size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = trained.net.optimize_for_inference().to(self.device)

    def run(self) -> None:
        """Write the pictures of every photo; a bar shows how far it is."""
        settings = self.settings
        console = Console(highlight=False)
        with frame_progress(console) as progress:
            task = progress.add_task("", total=len(settings.photos))
            for photo in settings.photos:
                progress.update(task, description=photo.name)
                depth, labels = self.predict(read_photo(photo))
                write_depth(depth, settings.output / f"{photo.stem}_depth.png")
                write_depth_colours(
                    depth, settings.output / f"{photo.stem}_depth_colour.png", max_depth=settings.max_depth
                )
                if self.class_names:
                    write_labels(labels, settings.output / f"{photo.stem}_labels.png", class_names=self.class_names)
                progress.advance(task)
        count = len(settings.photos)
        console.print(f"{count} photo{'s' * (count > 1)}, pictures in {settings.output}", markup=False, soft_wrap=True)

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


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """RGB pixels (H, W, 3), upright as the camera's orientation tag says.

    Raises:
        DataError: the file is no picture that Pillow reads.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            # A copy: torch takes no array that it may not write to.
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        reason = reason_of(error)
        raise DataError(f"{path}: expected a photo, got a file that does not decode ({reason})") from error
