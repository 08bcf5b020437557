"""The tree of errors: what the command line returns for each."""

from __future__ import annotations

import pytest

from daemon.core import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.SettingsError, 2),
        (errors.TapeError, 2),
        (errors.ArtifactError, 2),
        (errors.Unavailable, 3),
        (errors.CheckFailed, 1),
        (errors.Fault, 3),
        (errors.InboxFull, 3),
        (errors.IllegalTransition, 3),
        (errors.JournalError, 3),
    ],
)
def test_exit_codes(kind: type[errors.HrmdError], code: int) -> None:
    """What the user alone can mend is 2, what may pass 3, a failed check 1, a fault 3."""
    assert issubclass(kind, errors.HrmdError)
    assert kind.exit_code == code


def test_the_docstring_draws_the_whole_tree() -> None:
    """Every error is named in the module's picture, under its parent's indentation."""
    picture = (errors.__doc__ or "").splitlines()
    depth = {line.strip(" │├└─").split()[0]: len(line) - len(line.lstrip(" │├└─")) for line in picture if line.strip()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HrmdError)]
    for kind in kinds:
        if kind is not errors.HrmdError:
            assert depth[kind.__name__] > depth[kind.__mro__[1].__name__]
