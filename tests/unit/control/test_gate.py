from __future__ import annotations

from pathlib import Path

import pytest

from daemon.control.gate import FAILURE_WINDOW_S, FAILURES_ALLOWED, FORGIVEN_S, MOST_WAIT_S, Gate, Verdict, Who
from daemon.control.sessions import Sessions
from daemon.control.tokens import OWNER, Keyring, Scope, new_token, revoke_token
from daemon.core.aside import Aside
from daemon.core.clock import NS_PER_S, ReplayClock
from tests.threads import Hung

TOKEN = "a-token-of-some-length"


def gate() -> tuple[Gate, ReplayClock]:
    """A gate, and the clock that it looks at."""
    clock = ReplayClock(NS_PER_S)
    return Gate(TOKEN, clock), clock


def test_the_token_opens() -> None:
    """The scheme's case doesn't matter (RFC 9110)."""
    assert gate()[0].enter(f"Bearer {TOKEN}").verdict is Verdict.GRANTED
    assert gate()[0].enter(f"bearer {TOKEN}").verdict is Verdict.GRANTED


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff", "Bearer ü"]
)
def test_anything_else_does_not(header: str | None) -> None:
    """No header, another scheme, another token, bytes that are no text."""
    assert gate()[0].enter(header).verdict is Verdict.REFUSED


def test_a_flood_is_cut_off_but_the_operator_is_not() -> None:
    """After ten wrong tokens the eleventh is told so; the right one still opens; a minute later it is over."""
    door, clock = gate()
    for _ in range(FAILURES_ALLOWED):
        assert door.enter("Bearer wrong").verdict is Verdict.REFUSED
    assert door.enter("Bearer wrong").verdict is Verdict.TOO_MANY
    assert door.enter(f"Bearer {TOKEN}").verdict is Verdict.GRANTED
    clock.advance(clock.now_ns() + FAILURE_WINDOW_S * NS_PER_S)
    assert door.enter("Bearer wrong").verdict is Verdict.REFUSED


class HangingKeyring(Keyring):
    """On a disk that gives no answer."""

    def find(self, token: str) -> None:
        """Whoever asks waits for ever."""
        raise AssertionError("nobody is to ask")


def test_the_operator_needs_no_disk(tmp_path: Path) -> None:
    """Whatever the disk of the others' tokens does, a halt comes through."""
    door = Gate(TOKEN, ReplayClock(NS_PER_S), HangingKeyring(tmp_path / "tokens"))
    assert door.enter(f"Bearer {TOKEN}").verdict is Verdict.GRANTED


class Door:
    """A gate with a keyring, sessions, and one time for all of them."""

    def __init__(self, path: Path) -> None:
        self.clock = ReplayClock(NS_PER_S)
        self.path = path / "tokens"
        self.sessions = Sessions(3600, self.clock.now_ns)
        self.gate = Gate(TOKEN, self.clock, Keyring(self.path, self.clock.now_ns), self.sessions)

    def new(self, name: str, scope: Scope = Scope.READ, expires_ts: int | None = None) -> str:
        """A token."""
        return new_token(self.path, name, scope, expires_ts, self.clock.now_ns())[0]

    def who(self, token: str) -> Who | None:
        """Who that is."""
        return self.gate.enter(f"Bearer {token}").who

    def session(self, token: str) -> str:
        """A cookie."""
        who = self.gate.login(token, "here").who
        assert who is not None
        return self.sessions.begin(who.name, who.scope, who.sha256, who.until_ts)[0]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    """With no token yet but the daemon's own."""
    return Door(tmp_path)


def test_everybody_is_known_by_their_token(door: Door) -> None:
    """The daemon's own is the operator's and does everything; others have names and scopes, as the file says now."""
    anna, bela = door.new("anna", Scope.TRADE), door.new("bela")
    found = [door.who(token) for token in (TOKEN, anna, bela, anna + "x")]
    assert [(who.name, who.scope) if who else None for who in found] == [
        (OWNER, Scope.ADMIN), ("anna", Scope.TRADE), ("bela", Scope.READ), None,
    ]  # fmt: skip
    revoke_token(door.path, "anna")
    assert (door.who(anna), door.who(bela) is not None) == (None, True)


def test_a_token_ends_when_it_was_said_to(door: Door) -> None:
    """A nanosecond before it opens; then it doesn't."""
    token = door.new("anna", expires_ts=10 * NS_PER_S)
    door.clock.advance(10 * NS_PER_S - 1)
    assert door.who(token) is not None
    door.clock.advance(10 * NS_PER_S)
    assert door.who(token) is None


def test_locks_are_by_address_and_get_longer(door: Door) -> None:
    """Another address isn't; each lock is twice as long up to a most, and after a quiet hour it begins anew."""
    waits = []
    for _ in range(7):
        for _ in range(FAILURES_ALLOWED):
            assert door.gate.enter("Bearer wrong", None, "bad").verdict is Verdict.REFUSED
        entry = door.gate.enter("Bearer wrong", None, "bad")
        assert entry.verdict is Verdict.TOO_MANY
        assert door.gate.enter("Bearer wrong", None, "other").verdict is Verdict.REFUSED
        waits.append(entry.wait_s)
        door.clock.advance(door.clock.now_ns() + entry.wait_s * NS_PER_S)
    assert waits == [FAILURE_WINDOW_S << n for n in range(5)] + [MOST_WAIT_S] * 2
    door.clock.advance(door.clock.now_ns() + FORGIVEN_S * NS_PER_S)
    for _ in range(FAILURES_ALLOWED):
        door.gate.enter("Bearer wrong", None, "bad")
    assert door.gate.locked_s("bad") == FAILURE_WINDOW_S


def test_a_locked_address_logs_nobody_in(door: Door) -> None:
    """Right or wrong; the token itself, which a kill switch shows, still opens."""
    for _ in range(FAILURES_ALLOWED):
        door.gate.login("wrong", "here")
    assert door.gate.login(TOKEN, "here").verdict is Verdict.TOO_MANY
    assert door.gate.enter(f"Bearer {TOKEN}", None, "here").verdict is Verdict.GRANTED
    assert door.gate.login(TOKEN, "elsewhere").verdict is Verdict.GRANTED


def test_addresses_without_number_are_not_kept(door: Door) -> None:
    """Memory is bounded."""
    for number in range(3000):
        door.gate.enter(None, None, str(number))
    assert len(door.gate._addresses) <= 1024


def test_a_session_opens_as_its_token_does(door: Door) -> None:
    """Until it is over, logged out, or its token is gone; never beside a header."""
    cookie = door.session(door.new("anna", Scope.TRADE))
    entered = door.gate.enter(None, cookie)
    assert entered.who is not None
    assert (entered.who.name, entered.who.scope) == ("anna", Scope.TRADE)
    assert door.gate.enter("Bearer wrong", cookie).who is None
    revoke_token(door.path, "anna")
    assert door.gate.enter(None, cookie).who is None
    assert not door.gate.still(entered.who)


def test_a_session_of_an_earlier_token_of_the_name_is_over(door: Door) -> None:
    """Revoked and made anew: another token."""
    cookie = door.session(door.new("anna"))
    revoke_token(door.path, "anna")
    door.new("anna", Scope.ADMIN)
    assert door.gate.enter(None, cookie).who is None


def test_a_session_ends(door: Door) -> None:
    """After its time, and at a logout."""
    one, other = door.session(TOKEN), door.session(TOKEN)
    who = door.gate.enter(None, one).who
    assert who is not None
    assert who.claims is not None
    door.sessions.end(who.claims)
    assert door.gate.enter(None, one).who is None
    assert door.gate.enter(None, other).who is not None
    door.clock.advance(3602 * NS_PER_S)
    assert door.gate.enter(None, other).who is None


async def test_the_daemons_own_token_waits_for_no_disk(tmp_path: Path) -> None:
    """A halt isn't held up by a file of tokens that it doesn't need; everybody else's is asked for."""
    disk = Hung()
    ring = Keyring(tmp_path / "tokens.json", disk=Aside("tokens", disk.thread))
    door = Gate(TOKEN, ReplayClock(NS_PER_S), ring)
    await door.refresh(f"Bearer {TOKEN}")
    assert disk.begun == 0
    await door.refresh("Bearer somebody-elses")
    assert disk.begun == 1
    disk.goes_on.set()
