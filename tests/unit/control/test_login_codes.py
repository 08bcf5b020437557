"""Codes of links: once, soon, and for who would be let in without them."""

from __future__ import annotations

from daemon.control.gate import Who
from daemon.control.login_codes import LIFETIME_S, MOST_CODES, LoginCodes
from daemon.control.tokens import Scope
from daemon.core.clock import NS_PER_S

ANNA = Who(name="anna", scope=Scope.READ, sha256="cafe")


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000 * NS_PER_S

    def __call__(self) -> int:
        """As set."""
        return self.now


def test_a_code_lets_in_whom_it_was_made_for_once() -> None:
    """The second time it is as unknown as a made-up one."""
    codes = LoginCodes(Watch())
    code, _ = codes.make(ANNA)
    assert codes.spend("made up") is None
    assert codes.spend(code) == ANNA
    assert codes.spend(code) is None


def test_a_code_ends() -> None:
    """At the moment that was said, and trying it uses it up."""
    watch = Watch()
    codes = LoginCodes(watch)
    early, until = codes.make(ANNA)
    late, _ = codes.make(ANNA)
    assert until == watch.now + LIFETIME_S * NS_PER_S
    watch.now = until - 1
    assert codes.spend(early) == ANNA
    watch.now = until
    assert codes.spend(late) is None
    watch.now -= 1
    assert codes.spend(late) is None


def test_codes_take_no_more_room_than_they_may() -> None:
    """The oldest goes; no two are alike."""
    codes = LoginCodes(Watch())
    made = [codes.make(ANNA)[0] for _ in range(MOST_CODES + 1)]
    assert len(set(made)) == len(made)
    assert codes.spend(made[0]) is None
    assert all(codes.spend(code) == ANNA for code in made[1:])
