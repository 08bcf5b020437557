"""How many examples Hypothesis tries: a profile for a glance, one for CI, one for a night.

`HYPOTHESIS_PROFILE` or `--hypothesis-profile` names it. A test that wants more or fewer than others says how many where
they have a hundred, `@settings(max_examples=examples(300))`, and every profile looks as much less or more.
"""

from __future__ import annotations

from hypothesis import settings

PROFILES = {"quick": 10, "ci": 30, "nightly": 1000}
"""Examples of a property that asks for no number of its own."""
ASKED = 100
"""What a test that names a number of its own has in mind: so many for a property that names none."""


def register_profiles() -> None:
    """Make them known; no test has a time limit, for the machine may be busy.

    CI looks at the same examples each time, so that it judges the change; to find what is new is for the night.
    """
    for name, count in PROFILES.items():
        settings.register_profile(name, max_examples=count, deadline=None, print_blob=True, derandomize=name == "ci")


def examples(asked: int) -> int:
    """Return what the profile in force makes of this number, one at least."""
    return max(1, asked * settings().max_examples // ASKED)
