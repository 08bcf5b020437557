"""What one thread of this machine can do at all, and what a segment asks of it.

Invariant: peaks are measured, never looked up; where the kernel can't be built they are absent.
"""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import msgspec

from models.config import HRMConfig
from models.errors import RuntimeUnavailable
from models.native.build import INSTRUCTIONS, load_kernel

PEAK_S = 0.05
LARGE_BYTES = 256 << 20
"""A buffer that no cache holds."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Measured on one thread: billions of operations a second by precision, and of bytes read."""

    processor: str
    peak_gops: dict[str, float]
    memory_gb_per_s: float | None
    weights_gb_per_s: float | None
    """From a buffer as large as the int8 weights: what the caches give."""

    def floor_ms(self, operations: float, precision: str) -> float | None:
        """Least time of so many operations, milliseconds; None where the peak is not known."""
        peak = self.peak_gops.get(precision)
        return None if peak is None else operations / peak / 1e6


def measure_machine(cache: Path, weights_bytes: int, rounds: int = 5) -> Machine:
    """Take the best of some rounds: on a shared machine the others were disturbed."""
    peaks: dict[str, float] = {}
    memory = weights = None
    for number, precision in enumerate(INSTRUCTIONS):
        try:
            kernel = load_kernel(precision, cache)
        except RuntimeUnavailable:
            continue
        _declare(kernel)
        peaks[precision] = max(kernel.hrm_peak(number, PEAK_S) for _ in range(rounds))
        memory = memory or max(kernel.hrm_bandwidth(LARGE_BYTES, PEAK_S) for _ in range(rounds))
        weights = weights or max(kernel.hrm_bandwidth(weights_bytes, PEAK_S) for _ in range(rounds))
    return Machine(processor=processor(), peak_gops=peaks, memory_gb_per_s=memory, weights_gb_per_s=weights)


def processor() -> str:
    """The processor's own name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def block_weights(config: HRMConfig) -> tuple[int, int]:
    """Weights of all blocks of L and of H, and of what joins them counted with neither."""
    shape = config.architecture

    def blocks(dim: int, layers: int) -> int:
        return layers * (4 * dim * dim + 3 * dim * shape.inner(dim))

    return blocks(shape.l_dim, shape.l_layers), blocks(shape.h_dim, shape.h_layers)


def segment_operations(config: HRMConfig) -> float:
    """Multiplications and additions of the matrix products of one segment of one observation (attention left out)."""
    shape = config.architecture
    low, high = block_weights(config)
    crossing = 2 * shape.h_dim * shape.l_dim if shape.h_dim != shape.l_dim else 0
    return 2.0 * config.features.tokens * shape.h_cycles * (shape.l_steps * low + high + crossing)


def _declare(kernel: ctypes.CDLL) -> None:
    kernel.hrm_peak.restype = kernel.hrm_bandwidth.restype = ctypes.c_double
    kernel.hrm_peak.argtypes = [ctypes.c_int, ctypes.c_double]
    kernel.hrm_bandwidth.argtypes = [ctypes.c_uint64, ctypes.c_double]
