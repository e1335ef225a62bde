"""Builds the C++ kernels into one library without Python in it; everything else stands in pyproject.toml.

DEPTHATTN_BUILD_NATIVE=1 makes a failure fatal, 0 leaves the library out. Without it a failure is recorded in the
package, and depthattn.show_config() tells it. DEPTHATTN_CXXFLAGS adds flags to every compiler and linker call.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import sysconfig
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

OPS = Path("src/depthattn/ops")
PACKAGE = "depthattn.ops.native"
VARIABLE = "DEPTHATTN_BUILD_NATIVE"
WINDOWS, MACOS = sys.platform == "win32", sys.platform == "darwin"
LIBRARY = "kernels" + (".dll" if WINDOWS else ".dylib" if MACOS else ".so")
# Compiled once; every other source once for each instruction set.
MODULE = (OPS / "native/module.cpp").as_posix()
SOURCES = sorted(path.as_posix() for path in OPS.glob("*/*.cpp"))
EXTRA_FLAGS = os.environ.get("DEPTHATTN_CXXFLAGS", "").split()


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
        return ["/std:c++17", "/O2", "/fp:precise", *EXTRA_FLAGS]
    # Not -ffast-math: it would flush denormals to zero for the whole process that loads the library. Products and sums
    # fuse on every compiler as they do on GCC by default.
    return [
        "-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden",
        "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-g0", *EXTRA_FLAGS,
    ]  # fmt: skip


def take_another_compiler() -> None:
    """Name a C++ compiler that is there, where the one that Python was built with is not."""
    own = (sysconfig.get_config_var("CXX") or "c++").split()[0]
    if WINDOWS or "CXX" in os.environ or shutil.which(own):
        return
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            os.environ["CXX"] = name
            return


def files_of(source: Path) -> set[str]:
    """A source and all headers that it includes."""
    found, waiting = set(), [source.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            includes = re.findall(r'^#include "(.+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
            waiting += [(file.parent / name).resolve() for name in includes]
    return {str(file) for file in found}


class BuildLibrary(build_ext):
    """Compiles each kernel once for each instruction set; the result is loaded by ctypes, not imported."""

    def run(self) -> None:
        wanted = os.environ.get(VARIABLE, "")
        if wanted not in ("", "0", "1"):
            raise SystemExit(f"{VARIABLE} expected 0, 1 or nothing, got {wanted!r}")
        places = [Path(self.build_lib)]
        if self.inplace:
            # The base class builds into build_lib first, and copies what it finds there.
            places.append(Path("src"))
        failure = f"{VARIABLE}=0 left them out" if wanted == "0" else None
        if failure is None:
            take_another_compiler()
            try:
                super().run()
            except Exception as error:
                if wanted == "1":
                    raise
                failure = " ".join(str(error).split()) or type(error).__name__
        if failure is not None:
            self.warn(f"no C++ kernels: {failure}")
        for place in places:
            self.record(place.joinpath(*PACKAGE.split(".")), failure)

    def record(self, folder: Path, failure: str | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if failure is not None:
            # A library of an earlier build would stand for this one.
            (folder / LIBRARY).unlink(missing_ok=True)
        text = json.dumps({"failure": failure, "platform": sysconfig.get_platform()}, indent=1)
        (folder / "build.json").write_text(text + "\n", encoding="utf-8")

    def build_extension(self, ext: Extension) -> None:
        jobs: list[tuple[str, str, list[str]]] = [(MODULE, "module", [])]
        for source in ext.sources:
            for name, extra in instruction_sets().items() if source != MODULE else ():
                macro = f"{'/' if WINDOWS else '-'}DDEPTHATTN_ISA={name}"
                jobs.append((source, f"{Path(source).parent.name}_{name}", [*extra, macro]))
        if WINDOWS:
            # Threads must not do it at the same time.
            self.compiler.initialize()
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: self.compile_one(*job), jobs))
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        # The kernels use nothing of the C++ runtime, so that the library asks for none.
        linking = [] if WINDOWS or MACOS else ["-Wl,--as-needed"]
        self.compiler.link_shared_object(
            objects, str(target), extra_preargs=linking, extra_postargs=EXTRA_FLAGS, target_lang="c++"
        )

    def compile_one(self, source: str, name: str, extra: list[str]) -> str:
        """The object file of a source, compiled where it, a header or a flag has changed."""
        arguments = [*flags(), *extra]
        folder = Path(self.build_temp) / f"{name}_{zlib.crc32(' '.join(arguments).encode()):08x}"
        folder.mkdir(parents=True, exist_ok=True)
        (made,) = self.compiler.object_filenames([source], output_dir=str(folder))
        if self.force or newer_group(["setup.py", *files_of(Path(source))], made):
            self.compiler.compile([source], output_dir=str(folder), extra_postargs=arguments)
        return str(made)

    def get_ext_filename(self, fullname: str) -> str:
        # No name of a Python version in it: one library serves them all.
        return str(Path(*fullname.split(".")[:-1], LIBRARY))

    def get_export_symbols(self, ext: Extension) -> list[str]:
        # No PyInit function: the kernels export themselves.
        return []

    def get_outputs(self) -> list[str]:
        (library,) = super().get_outputs()
        return [path for path in (library, str(Path(library).with_name("build.json"))) if Path(path).exists()]


class PlatformWheel(bdist_wheel):
    """Of this platform, but of any Python 3: the library does not know of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            f"{PACKAGE}.kernels",
            sources=SOURCES,
            depends=sorted(path.as_posix() for path in OPS.glob("*/*.h")),
            language="c++",
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
