"""How many rows go through the network together, and what is said where memory runs out."""

from __future__ import annotations

import pytest

from daemon.settings.loading import load_settings
from models.training.errors import TrainingError
from models.training.memory import check_memory, resident_gb, rows_within


def rows(profile: str, limit_gb: float, wanted: int = 4096) -> int:
    """For a shipped profile."""
    hrm = load_settings(None, [f"hierarchical_reasoning_model.profile={profile}"]).hierarchical_reasoning_model
    parameters = {"tiny": 300_000, "base": 27_300_000}[profile]
    return rows_within(limit_gb, wanted, hrm.shape, hrm.features.tokens, parameters)


def test_small_networks_take_what_is_asked_for() -> None:
    """The limit changes nothing for them, so that what they learn stays what it was."""
    assert rows("tiny", 4.0) == 4096


def test_a_large_network_takes_what_fits() -> None:
    """`base` needs about 4 MB a row (measured: 2.0 GB with 128 rows, 5.6 GB with 1,024)."""
    assert 128 < rows("base", 4.0) < 600
    assert rows("base", 4.0) < rows("base", 8.0) < rows("base", 64.0) == 4096
    assert rows("base", 4.0, 100) == 100
    assert rows("base", 0.5) == 16


def test_beyond_the_limit_one_line_says_what_to_do() -> None:
    """With both settings by name."""
    held = resident_gb()
    assert held is not None
    check_memory(held + 10, 413)
    with pytest.raises(TrainingError, match=r"performance.memory_limit_gb is 0.01: raise it, or lower .*rows_at_once"):
        check_memory(0.01, 413)
