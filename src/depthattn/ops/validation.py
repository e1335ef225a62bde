"""Whether the values of labels are checked where that means to wait for the device."""

from __future__ import annotations

import torch

_validation = False


def set_validation(enabled: bool) -> None:
    """Also check labels on accelerators, where the check has to wait for the device.

    On the CPU a label outside ``[0, K)`` always raises. On an accelerator it counts as ignored and is never
    used as an address; with validation on it raises there too. Turn it on to look for bad data, off to train.

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
