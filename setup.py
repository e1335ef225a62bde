"""Builds the C++ kernels into one library without Python in it; everything else stands in pyproject.toml.

DEPTHATTN_BUILD_NATIVE=1 makes a failure fatal, 0 leaves the library out. Without it a failure is recorded in the
package, and depthattn.show_config() tells it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

OPS = Path("src/depthattn/ops")
PACKAGE = "depthattn.ops.native"
VARIABLE = "DEPTHATTN_BUILD_NATIVE"
WINDOWS, MACOS = sys.platform == "win32", sys.platform == "darwin"
LIBRARY = "kernels" + (".dll" if WINDOWS else ".dylib" if MACOS else ".so")
KERNELS = [(OPS / "native/rows.cpp").as_posix(), *sorted(path.as_posix() for path in OPS.glob("*/cpu.cpp"))]
MODULE = (OPS / "native/module.cpp").as_posix()


def instruction_sets() -> dict[str, list[str]]:
    """What every kernel is compiled for, with the flags of each."""
    sets: dict[str, list[str]] = {"baseline": []}
    # A macOS build may hold both processors at once, and Apple's x86 machines are of the past.
    if platform.machine().lower() in ("x86_64", "amd64") and not MACOS:
        if WINDOWS:
            return sets | {"avx2": ["/arch:AVX2"], "avx512": ["/arch:AVX512"]}
        avx2 = ["-mavx2", "-mfma", "-mf16c"]
        sets |= {"avx2": avx2, "avx512": [*avx2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"]}
    return sets


def flags() -> list[str]:
    if WINDOWS:
        return ["/std:c++17", "/O2", "/fp:precise", "/EHs-c-"]
    # Not -ffast-math: it would flush denormals to zero for the whole process that loads the library.
    return [
        "-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-fno-exceptions",
        "-fno-rtti", "-Wall", "-Wextra", "-g0", *os.environ.get("DEPTHATTN_CXXFLAGS", "").split(),
    ]  # fmt: skip


class BuildLibrary(build_ext):
    """Compiles each kernel once for each instruction set; the result is loaded by ctypes, not imported."""

    def run(self) -> None:
        wanted = os.environ.get(VARIABLE, "")
        if wanted not in ("", "0", "1"):
            raise SystemExit(f"{VARIABLE} expected 0, 1 or nothing, got {wanted!r}")
        if wanted == "0":
            self.record(f"{VARIABLE}=0 left them out")
            return
        try:
            super().run()
        except Exception as error:
            if wanted == "1":
                raise
            self.record(" ".join(str(error).split()) or type(error).__name__)
        else:
            self.record(None)

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        temporary = Path(self.build_temp)
        jobs = [(MODULE, "module", [])]
        for source in KERNELS:
            for name, extra in instruction_sets().items():
                jobs.append((source, f"{Path(source).parent.name}_{name}", [*extra, f"-DDEPTHATTN_ISA={name}"]))

        def compile_one(job: tuple[str, str, list[str]]) -> str:
            source, name, extra = job
            folder = temporary / name
            folder.mkdir(parents=True, exist_ok=True)
            macros = [flag.replace("-D", "/D") if WINDOWS else flag for flag in extra]
            (made,) = self.compiler.compile(
                [source], output_dir=str(folder), extra_postargs=[*flags(), *macros], depends=ext.depends
            )
            return str(made)

        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            objects = list(pool.map(compile_one, jobs))
        target.parent.mkdir(parents=True, exist_ok=True)
        # The C++ runtime comes along where the platform allows it; sanitizers bring their own.
        static = [] if WINDOWS or MACOS else ["-static-libstdc++", "-static-libgcc"]
        self.compiler.link_shared_object(
            objects,
            str(target),
            extra_postargs=[*static, *os.environ.get("DEPTHATTN_CXXFLAGS", "").split()],
            target_lang="c++",
        )

    def get_ext_filename(self, fullname: str) -> str:
        # No name of a Python version in it: one library serves them all.
        return str(Path(*fullname.split(".")[:-1], LIBRARY))

    def get_export_symbols(self, ext: Extension) -> list[str]:
        # No PyInit function: the kernels export themselves.
        return []

    def get_outputs(self) -> list[str]:
        return [path for path in (*super().get_outputs(), str(self.place("build.json"))) if Path(path).exists()]

    def place(self, name: str) -> Path:
        root = Path("src") if self.inplace else Path(self.build_lib)
        return root.joinpath(*PACKAGE.split("."), name)

    def record(self, failure: str | None) -> None:
        place = self.place("build.json")
        place.parent.mkdir(parents=True, exist_ok=True)
        if failure is not None:
            # A library of an earlier build would stand for this one.
            self.place(LIBRARY).unlink(missing_ok=True)
            print(f"depthattn: no C++ kernels: {failure}")
        compiler = sysconfig.get_config_var("CXX") or "the system's compiler"
        record = {"failure": failure, "compiler": compiler, "platform": sysconfig.get_platform()}
        place.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class PlatformWheel(bdist_wheel):
    """Of this platform, but of any Python 3: the library does not know of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            f"{PACKAGE}.kernels",
            sources=[MODULE, *KERNELS],
            depends=sorted(path.as_posix() for path in OPS.glob("*/*.h")),
            language="c++",
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
