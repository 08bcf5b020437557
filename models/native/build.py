"""Turns the C++ sources beside this module into a loaded library, built once per source and flags.

A library that was built stays usable when the compiler is gone: its name says what it was made of, and whether this
processor can run it is asked each time.

No compiler, another processor or a failed build is a `RuntimeUnavailable` of one line; the caller then takes another
runtime. The processor is asked (CPUID, and the system's leave to use the wide registers) by a library of its own that
runs anywhere, before the kernel is built or loaded. Invariant: a library that is in the cache is complete, and on the
disk; one that a power cut has cut off all the same is built anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.errors import RuntimeUnavailable

log = logging.getLogger("hrmd.native")

SOURCES: Final = Path(__file__).parent
KERNEL: Final = ("packing.cpp", "segment.cpp", "api.cpp", "ceiling.cpp")
HEADERS: Final = ("simd.hpp", "simd512.hpp", "simd256.hpp", "gemm.hpp", "block.hpp", "model.hpp")
COMMON: Final = ("-O3", "-std=c++17", "-fPIC", "-shared")
VARIANTS: Final = {
    "avx512": (
        "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx512bf16", "-mfma", "-mavx2",
    ),
    "avx2": ("-mavx2", "-mfma"),
}  # fmt: skip
"""Flags of the same sources for two kinds of processors, the faster first; their numbers are those of cpu.cpp."""
COMPILERS: Final = ("g++", "c++", "clang++")
BUILD_S: Final = 300.0
"""How long a build may take on a machine that is busy."""
_ELF: Final = b"\x7fELF"
_ELF_HEADER_BYTES: Final = 64

INSTRUCTIONS: Final = {"int8": "AVX512-VNNI", "bf16": "AVX512-BF16", "fp32": "AVX512", "int16": "AVX512-VNNI"}
"""What the faster variant needs of the processor, in the order of the kernel's own numbers of precisions."""


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/hrmd`, or `~/.cache/hrmd`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hrmd"


def load_kernel(
    precision: str,
    cache: Path,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    system: str = platform.system(),
    machine: str = platform.machine(),
) -> ctypes.CDLL:
    """Return the kernel of the first of `variants` that this processor runs, built into `cache` where it isn't there.

    Raises RuntimeUnavailable.
    """
    if machine not in ("x86_64", "AMD64") or system != "Linux":
        raise RuntimeUnavailable(f"native needs Linux on x86-64, this is {system} on {machine}")
    processor = open_library(build(cache, "cpu", ("cpu.cpp",), (), COMMON))
    number, names = list(INSTRUCTIONS).index(precision), list(VARIANTS)
    for variant in variants:
        if processor.hrm_supports(number, names.index(variant)):
            return open_library(build(cache, f"hrm-{variant}", KERNEL, HEADERS, (*COMMON, *VARIANTS[variant])))
    needs = {"avx512": INSTRUCTIONS[precision], "avx2": "AVX2 with FMA"}
    wanted = " or ".join(needs[variant] for variant in variants)
    raise RuntimeUnavailable(f"native {precision} needs {wanted}, which this processor has not")


def find_compiler() -> list[str]:
    """`CXX` where it is set, else the first that is installed. Raises RuntimeUnavailable."""
    asked = shlex.split(os.environ.get("CXX", ""))
    for command in [asked] if asked else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise RuntimeUnavailable(
        f"native needs a C++ compiler: CXX={asked[0]} is not there"
        if asked
        else f"native needs a C++ compiler: none of {', '.join(COMPILERS)} is installed"
    )


def build(
    cache: Path,
    name: str,
    sources: tuple[str, ...],
    headers: tuple[str, ...],
    flags: tuple[str, ...],
    compiler: list[str] | None = None,
    folder: Path = SOURCES,
) -> Path:
    """Return the path of the built library; where it is in the cache no compiler is needed. Raises RuntimeUnavailable.

    `compiler` is looked for where none is given; the sources lie in `folder`.
    """
    digest = hashlib.sha256(repr(flags).encode())
    for source in (*sources, *headers):
        digest.update((folder / source).read_bytes())
    target = cache / f"{name}-{digest.hexdigest()[:16]}.so"
    if target.exists():
        if _is_whole(target):
            return target
        log.warning("%s is cut off: it is built anew", target)
    compiler = compiler or find_compiler()
    log.info("building the native kernel (%s) with %s: some seconds, once for this machine", name, compiler[0])
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            partial = Path(aside) / target.name
            command = [*compiler, *flags, "-w", "-o", str(partial), *(str(folder / source) for source in sources)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_S)
            _sync(partial)
            os.replace(partial, target)
            _sync(cache)
    except subprocess.CalledProcessError as error:
        first = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip()[:200])
        raise RuntimeUnavailable(f"native: {' '.join(compiler)} could not build it: {first}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeUnavailable(f"native: could not be built in {cache}: {error}") from error
    return target


def _is_whole(path: Path) -> bool:
    """Whether an ELF file reaches to the end of its section headers, the last of it: a shorter one kills who loads it.

    elf(5): e_shoff, e_shentsize and e_shnum of a 64-bit header.
    """
    try:
        with path.open("rb") as stream:
            header = stream.read(_ELF_HEADER_BYTES)
            size = os.fstat(stream.fileno()).st_size
    except OSError:
        return True  # who loads it says why it can't be read
    if len(header) < _ELF_HEADER_BYTES or not header.startswith(_ELF):
        return False
    begins = int.from_bytes(header[40:48], "little")
    each, count = (int.from_bytes(header[at : at + 2], "little") for at in (58, 60))
    return size >= begins + each * count


def _sync(path: Path) -> None:
    """Wait until the disk has a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_library(path: Path, kind: type[ctypes.CDLL] = ctypes.CDLL) -> ctypes.CDLL:
    """Load a built library. Raises RuntimeUnavailable where it is damaged."""
    try:
        return kind(str(path))
    except OSError as error:
        raise RuntimeUnavailable(f"native: {path} can't be loaded: {error}") from error
