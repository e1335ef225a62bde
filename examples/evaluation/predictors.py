"""Where predicted depth comes from: a network, or files of any other model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthattn._messages import reason_of
from depthattn.data import DataError, Sample
from depthattn.data.arrays import read_npz
from depthattn.data.codes import read_depth_codes
from depthattn.data.hdf5 import open_hdf5, stored_array
from depthattn.data.mat5 import read_mat5
from depthattn.data.walk import find_files
from evaluation.pairing import pair
from evaluation.settings import PROGRAM, Settings
from evaluation.truth import Truth
from prediction.network import load_trained


class Predicted(NamedTuple):
    """Values (h, w) in the model's space, of any size, and the classes' probabilities (K, h, w) or None."""

    values: Tensor
    classes: Tensor | None


class Predictor(Protocol):
    """Predicts a frame, given with its number; ``class_names`` are those it tells apart, empty if not known."""

    class_names: tuple[str, ...]

    def __call__(self, index: int, frame: Sample) -> Predicted: ...


_KEY = "pred"
_PICTURES = (".png", ".tif", ".tiff", ".pfm")
_SUFFIXES = (*_PICTURES, ".npy", ".npz", ".mat")


class NetworkPredictor:
    """A trained SynergyNet, at the size it was trained at.

    Args:
        settings: from the command line.
    """

    def __init__(self, settings: Settings) -> None:
        trained = load_trained(settings.checkpoint)
        self.class_names = trained.class_names
        self.size = settings.size or trained.size
        self.flip = settings.flip
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = trained.net.optimize_for_inference().to(self.device)

    @torch.inference_mode()
    def __call__(self, index: int, frame: Sample) -> Predicted:
        image = frame["image"].unsqueeze(0).to(self.device)
        if self.size is not None:
            image = interpolate(image, self.size, mode="bilinear", antialias=True)
        depth, classes = self._predict(image)
        if self.flip:
            mirrored = self._predict(image.flip(-1))
            depth = (depth + mirrored.values.flip(-1)) / 2
            classes = (classes + mirrored.classes.flip(-1)) / 2
        return Predicted(depth.cpu(), classes.cpu())

    def _predict(self, image: Tensor) -> Predicted:
        output = self.net(image.contiguous(memory_format=torch.channels_last))
        return Predicted(output.depth[0, 0].float(), output.semantics[0].float().softmax(0))


class FilePredictor:
    """Predictions from files: one for each frame, or all in one.

    Args:
        path: a folder with a file for each frame, named after it; or one npy, npz or mat, in the frames' order.
        truth: the frames.
        scale: stored units in a metre.
        in_order: take the files in natural order, whatever their names.

    Raises:
        DataError: predictions and frames that do not pair, or a file that does not hold depth.
    """

    class_names = ()

    def __init__(self, path: Path, truth: Truth, scale: float, *, in_order: bool) -> None:
        self.scale = scale
        self._files: list[Path] = []
        self._all: npt.NDArray[Any] | None = None
        if path.is_dir():
            files = find_files(path, _SUFFIXES, inside=True).files
            if not files:
                raise DataError(f"{path}: expected predictions ({', '.join(_SUFFIXES)}), got a folder without any")
            self._files = [*files] if in_order else pair(path, files, truth.names, truth.count)
            found = len(self._files)
        else:
            self._all = _stack(read_prediction(path), {truth.count, len(truth.names)}, path)
            found = len(self._all)
        # All frames may have been predicted where only the first are scored.
        if found not in (truth.count, len(truth.names)):
            raise DataError(f"{path}: expected {truth.count} predictions, one for each frame, got {found}")

    def __call__(self, index: int, frame: Sample) -> Predicted:
        depth = self._all[index] if self._all is not None else np.squeeze(read_prediction(self._files[index]))
        if depth.ndim != 2:
            raise DataError(f"{self._files[index]}: expected a prediction of shape (H, W), got {depth.shape}")
        return Predicted(torch.from_numpy(depth.astype(np.float32) / np.float32(self.scale)), None)


def open_predictor(settings: Settings, truth: Truth) -> Predictor:
    if settings.predictions is not None:
        return FilePredictor(settings.predictions, truth, settings.pred_scale, in_order=settings.in_order)
    return NetworkPredictor(settings)


def read_prediction(path: Path) -> npt.NDArray[Any]:
    """The array of a file, MATLAB's axes in MATLAB's order.

    Raises:
        DataError: no such file, or one that does not hold an array of real numbers.
    """
    if not path.is_file() or path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: expected a folder or a file with predictions ({', '.join(_SUFFIXES)}), got neither")
    try:
        if path.suffix.lower() in _PICTURES:
            values: Any = read_depth_codes(path)
        elif path.suffix.lower() == ".npy":
            # Mapped, so that a header cannot ask for more memory than the file has.
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix.lower() == ".npz":
            values = read_npz(path, _KEY, "expected predictions")
        else:
            values = _read_mat(path)
    except DataError:
        raise
    except Exception as error:
        # Any kind: NumPy and h5py believe a damaged header, and stumble over what it says in any way there is.
        reason = reason_of(error)
        raise DataError(f"{path}: expected predictions, got a file that does not read: {reason}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected an array of real numbers, got {getattr(values, 'dtype', type(values))}")
    return values


def _read_mat(path: Path) -> Any:
    import h5py

    if h5py.is_hdf5(path):
        with open_hdf5(path, f"{path}: expected predictions", PROGRAM) as file:
            # MATLAB stores columns first, so HDF5 shows its axes reversed.
            return np.asarray(stored_array(path, file, _KEY, str(path), PROGRAM)).T
    return read_mat5(path, _KEY)


def _stack(values: npt.NDArray[Any], counts: set[int], path: Path) -> npt.NDArray[Any]:
    """Predictions as (N, H, W): MATLAB users have the frames last."""
    if values.ndim == 4 and 1 in values.shape[1:]:
        values = values.squeeze(values.shape.index(1, 1))
    if values.ndim == 2 and 1 in counts:
        return values[None]
    if values.ndim != 3:
        raise DataError(f"{path}: expected predictions of shape (N,H,W) or (H,W,N), got {values.shape}")
    return np.moveaxis(values, 2, 0) if values.shape[0] not in counts and values.shape[2] in counts else values
