"""Whether the values of labels are checked where that means to wait for the device."""

from __future__ import annotations

import torch

_validation = False


def set_validation(enabled: bool) -> None:
    """Turn the check of labels on accelerators on or off. The check waits for the device.

    On the CPU a label outside ``[0, K)`` always raises an error. On an accelerator it is ignored, and raises an error
    only if validation is on. Turn it on to look for bad data, and off to train.

    Args:
        enabled: True to check everywhere, False (the state at import) to check on the CPU only.

    Raises:
        TypeError: if ``enabled`` is not a bool.

    Example:
        >>> import depthattn
        >>> depthattn.set_validation(True)  # while looking for the batch with a bad label
        >>> depthattn.set_validation(False)
    """
    global _validation
    if not isinstance(enabled, bool):
        raise TypeError(f"set_validation: expected a bool, got {type(enabled).__name__}")
    _validation = enabled


def validates(device: torch.device) -> bool:
    """Whether values, not only shapes, are checked on ``device``."""
    return _validation or device.type == "cpu"
