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
        operation, _, backend = self.file.removesuffix(".py").partition("/")
        if not backend:
            return _SHARED[operation]
        kernels = "tests/ops/test_semantic_focal_upsample.py" if operation == _UPSAMPLE else _kernels(operation)
        interpreted = ("tests/ops/test_triton.py", "tests/ops/test_accuracy.py", kernels)
        own = {
            "triton": interpreted,
            "walk": interpreted,
            "pixels": ("tests/ops/test_triton.py",),
            "inductor": ("tests/ops/test_accuracy.py", kernels),
        }.get(backend, ("tests/ops/test_contract.py", "tests/ops/test_invalid.py", kernels))
        others = [f"{name}-" for name in _NAMES if name != operation]
        return *own, "-k", "not (" + " or ".join(others) + ")"


_UPSAMPLE = "semantic_focal_upsample"
_NAMES = (
    *("depth_aware", "joint_gradient", "attention_depth", "semantic_focal", _UPSAMPLE),
    *("lateral_sharing", "semi_dense_up_skip"),
)


def _kernels(operation: str) -> str:
    return f"tests/ops/test_{operation}_kernels.py"


_SHARED = {
    "resize": ("tests/ops/test_resize.py", _kernels("semi_dense_up_skip"), "tests/ops/test_semantic_focal_upsample.py"),
    "library": ("tests/ops/test_contract.py",),
    "triton_utils": ("tests/ops/test_triton.py",),
    "tiling": (_kernels("depth_aware"), _kernels("joint_gradient")),
}
