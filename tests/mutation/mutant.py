"""What a mutant is: one place of the library, broken on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

OPERATIONS = Path("src/depthattn/ops")


class Mutant(NamedTuple):
    """``old``, which occurs once in ``file``, becomes ``new``: a fault that some test has to find.

    Args:
        file: under ``src/depthattn/ops``.
        fault: what is wrong then, in words.
        old: a piece of the file.
        new: what takes its place.
    """

    file: str
    fault: str
    old: str
    new: str

    @property
    def path(self) -> Path:
        return OPERATIONS / self.file

    @property
    def compiled(self) -> bool:
        """Whether the library of C++ kernels has to be built again for it."""
        return self.path.suffix in (".cpp", ".h")

    @property
    def name(self) -> str:
        return f"{self.file.removesuffix('.py')}: {self.fault}"

    def broken(self, source: str) -> str:
        """``source`` with the fault in it."""
        if source.count(self.old) != 1:
            raise ValueError(
                f"mutation: expected the text of '{self.name}' once in {self.path}, got {source.count(self.old)}"
            )
        return source.replace(self.old, self.new)

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests that are asked, the likeliest first, and what keeps those of other operations out."""
        operation, _, part = self.file.removesuffix(".py").partition("/")
        if self.file in _SHARED:
            return _SHARED[self.file]
        kernels = (_kernels(operation), "tests/ops/test_accuracy.py")
        if self.compiled:
            own = (*kernels, "tests/ops/test_invalid.py", "tests/ops/test_contract.py")
        elif part in ("triton", "walk", "pixels"):
            own = ("tests/ops/test_triton.py", *kernels)
        else:
            own = ("tests/ops/test_contract.py", "tests/ops/test_invalid.py", *kernels)
        others = [f"{name}-" for name in _NAMES if name != operation]
        return *own, "-k", "not (" + " or ".join(others) + ")"


_UPSAMPLE = "semantic_focal_upsample"
_NAMES = (
    *("depth_aware", "joint_gradient", "attention_depth", "semantic_focal", _UPSAMPLE),
    *("lateral_sharing", "semi_dense_up_skip"),
)


def _kernels(operation: str) -> str:
    return f"tests/ops/test_{operation}_kernels.py"


_EVERY_KERNEL = ("tests/ops/test_contract.py", "tests/ops/test_accuracy.py", "tests/ops/test_invalid.py")
# Of files that several operations use.
_SHARED = {
    "loss.py": _EVERY_KERNEL,
    "reduction/cpu.cpp": ("tests/ops/test_reduction.py", *_EVERY_KERNEL),
    "reduction/reference.py": ("tests/ops/test_reduction.py", *_EVERY_KERNEL),
    "registration.py": (*_EVERY_KERNEL, "tests/ops/test_transforms.py"),
    "triton_utils.py": ("tests/ops/test_triton.py",),
    "native/maps.h": _EVERY_KERNEL,
    "native/math.h": ("tests/ops/test_native_math.py",),
    "native/module.cpp": ("tests/ops/test_native_library.py",),
    "native/parallel.h": ("tests/ops/test_native_library.py", "tests/test_life.py"),
    "native/resize.h": (_kernels("semantic_focal_upsample"),),
    "native/rows.cpp": ("tests/ops/test_native_math.py", *_EVERY_KERNEL),
    "native/rows.h": ("tests/ops/test_native_math.py", *_EVERY_KERNEL),
}
