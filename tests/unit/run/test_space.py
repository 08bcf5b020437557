"""What may be tried for a setting."""

from __future__ import annotations

import pytest

from daemon.core.errors import UsageError
from daemon.run.space import space_of

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")


def test_every_form_is_a_distribution() -> None:
    """Whole numbers, steps, numbers, magnitudes, choices."""
    found = space_of(["a=1:10", "b=1:9:2", "c=0.1:0.5", "d=0.001:1:log", "e=x,y", "f=0:1:0.25", "g=-5:5"])
    kinds = optuna.distributions
    assert found == {
        "a": kinds.IntDistribution(1, 10), "b": kinds.IntDistribution(1, 9, step=2),
        "c": kinds.FloatDistribution(0.1, 0.5), "d": kinds.FloatDistribution(0.001, 1, log=True),
        "e": kinds.CategoricalDistribution(["x", "y"]), "f": kinds.FloatDistribution(0, 1, step=0.25),
        "g": kinds.IntDistribution(-5, 5),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a", "a=", "=1:2", "a=1", "a=2:1", "a=1:1", "a=1:x", "a=1:2:3:4", "a=0:1:log", "a=1:5:0", "a=,", "a=nan:1"]
)
def test_anything_else_is_refused_in_a_line(text: str) -> None:
    """With the forms that would do."""
    with pytest.raises(UsageError, match=r"LOW:HIGH"):
        space_of([text])


def test_a_setting_is_named_once() -> None:
    """And at least one is."""
    with pytest.raises(UsageError, match="given twice"):
        space_of(["a=1:2", "a=3:4"])
    with pytest.raises(UsageError, match="at least one"):
        space_of([])
