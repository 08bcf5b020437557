"""How many examples a test gets under a profile, and which are not traced."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

from tests.depth import ASKED, PROFILES, examples


def test_a_test_asks_for_as_many_as_it_wants_in_ci() -> None:
    """Every profile makes as much less or more of it as of its own number; no test is left without an example."""
    for name, own in PROFILES.items():
        found = settings.get_profile(name)
        assert (found.max_examples, found.deadline) == (own, None)
    assert examples(ASKED) == settings().max_examples
    assert examples(3 * ASKED) == 3 * settings().max_examples
    assert examples(1) >= 1


@pytest.mark.no_cover
def test_what_is_left_untraced_is_not_traced() -> None:
    """Nor in a worker of `make test`, where pytest-cov measures a second time."""
    assert sys.gettrace() is None
