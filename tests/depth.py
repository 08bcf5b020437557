"""How many examples Hypothesis tries: a profile for a glance, one for CI, one for a night.

`HYPOTHESIS_PROFILE` or `--hypothesis-profile` names it. A test that wants another number than the profile's says what
it wants in CI, `@settings(max_examples=examples(300))`, and the other profiles look as much less or more.
"""

from __future__ import annotations

from hypothesis import settings

PROFILES = {"quick": 10, "ci": 100, "nightly": 1000}
"""Examples of a property that asks for no number of its own."""


def register_profiles() -> None:
    """Make them known; no test has a time limit, for the machine may be busy."""
    for name, count in PROFILES.items():
        settings.register_profile(name, max_examples=count, deadline=None, print_blob=True)


def examples(in_ci: int) -> int:
    """Return what the profile in force makes of this number, one at least."""
    return max(1, in_ci * settings().max_examples // PROFILES["ci"])
