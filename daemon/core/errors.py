"""Every error hrmd raises on purpose, in one tree.

    HrmdError
    ├── UsageError            exit 2: the user can mend it; the message names the key, file or symbol
    │   ├── SettingsError     a key of the settings
    │   │   └── NoTokenYet    the day's token isn't there: a daemon's start (exit 3) waits for a login
    │   ├── TapeError         a tape that is missing, empty, truncated or of other columns
    │   ├── ArtifactError     a model file that is missing, foreign or altered
    │   └── Unavailable       exit 3: a full disk, a network that is away: it may pass by itself
    ├── CheckFailed           exit 1: a check ran and said no (verify, check)
    └── Fault                 exit 3: something that should not happen did
        ├── InboxFull         a lossless inbox overflowed
        ├── IllegalTransition an order was asked to make a move the table does not hold
        ├── StartAgain        the process began with a wrong time, and only another start has the right one
        ├── StrategyHung      a strategy gave no answer where nobody can go on without it (a replay)
        └── JournalError      the journal could not be written or read
            └── JournalHangs  exit 4: its disk gave no answer until the end, and what it was to take is lost

Expected outcomes (a denied order, a rejected tick) are events, not exceptions.
"""


class HrmdError(Exception):
    """Root of the tree; `exit_code` is what the command line returns for it."""

    exit_code = 3


class UsageError(HrmdError):
    """What the user gave can't be used; the message is one line that says what, where and what would be right."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is unknown, of the wrong type, or impossible beside another."""


class NoTokenYet(SettingsError):  # noqa: N818 — a state, not an error
    """The broker's token of the day isn't there, or its file is empty: a login, which is due each day, makes it."""


class TapeError(UsageError):
    """A tape is missing, empty, truncated or has other columns."""


class ArtifactError(UsageError):
    """A model artifact is missing, foreign, altered or does not fit the settings."""


class Unavailable(UsageError):  # noqa: N818 — a state, not an error
    """What the machine or the network can't give now; the same command may do later, and systemd tries it again."""

    exit_code = 3


class CheckFailed(HrmdError):  # noqa: N818 — a verdict, not an error
    """A check ran to its end and found a difference."""

    exit_code = 1


class Fault(HrmdError):  # noqa: N818 — the field calls it a fault
    """A broken invariant; caught in one place, the supervisor."""


class InboxFull(Fault):
    """A lossless inbox reached its capacity: its actor is not keeping up."""


class IllegalTransition(Fault):
    """An order was asked to make a move that its table does not hold."""


class StartAgain(Fault):
    """The process began with a wrong time or day, which is mended meanwhile: another start takes the right one."""


class StrategyHung(Fault):
    """A strategy gave no answer within the limit, in a run that can't go on without it."""


class JournalError(Fault):
    """The journal could not be written or read."""


class JournalHangs(JournalError):  # noqa: N818 — what the disk does
    """The journal's disk gave no answer until the end: the message says how many events it has not taken."""

    exit_code = 4
