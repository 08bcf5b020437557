"""The file of tokens: hashes alone, for its owner alone, and read anew when it changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemon.control.tokens import PREFIX, Keyring, Scope, new_token, read_tokens, revoke_token
from daemon.core.aside import Aside
from daemon.core.errors import UsageError
from tests.threads import Hung


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where tokens go."""
    return tmp_path / "var" / "control.tokens"


def test_scopes_include_those_before_them() -> None:
    """Admin trades and looks; reading does neither."""
    assert [[one.includes(other) for other in Scope] for one in Scope] == [
        [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip


def test_the_file_holds_no_token(path: Path) -> None:
    """Mode 0600, name, scope, hash and times."""
    token, record = new_token(path, "anna", Scope.TRADE, None, 5)
    assert token.startswith(PREFIX)
    assert len(token) >= 40
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_tokens(path) == [record]
    assert Keyring(path).find(token) == record
    assert Keyring(path).find(token[:-1]) is None


def test_what_changes_holds_at_once(path: Path) -> None:
    """New ones are known, revoked ones aren't, without a restart."""
    ring = Keyring(path)
    assert ring.find("anything") is None
    anna, _ = new_token(path, "anna", Scope.READ, None, 5)
    bela, _ = new_token(path, "bela", Scope.ADMIN, None, 5)
    assert [ring.find(anna) is not None, ring.find(bela) is not None] == [True, True]
    assert revoke_token(path, "anna").name == "anna"
    assert [ring.find(anna) is not None, ring.find(bela) is not None] == [False, True]
    path.unlink()
    assert ring.find(bela) is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "operator", "é", "x" * 41, "a\n"])
def test_names_that_can_not_be(path: Path, name: str) -> None:
    """What the journal could not show, and the operator's own."""
    with pytest.raises(UsageError, match="expected a name"):
        new_token(path, name, Scope.READ, None, 5)
    assert not path.exists()


def test_where_nothing_is_nothing_is_made(path: Path) -> None:
    """A token that isn't there is no reason for a directory or a lock."""
    with pytest.raises(UsageError, match="anna: no token of that name"):
        revoke_token(path, "anna")
    assert not path.parent.exists()


def test_a_name_has_one_token(path: Path) -> None:
    """A second one, and the revocation of none, say what to do."""
    new_token(path, "anna", Scope.READ, None, 5)
    with pytest.raises(UsageError, match="hrmd token revoke anna"):
        new_token(path, "anna", Scope.ADMIN, None, 6)
    with pytest.raises(UsageError, match="no token of that name"):
        revoke_token(path, "bela")
    assert [record.scope for record in read_tokens(path)] == [Scope.READ]


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff", b'{"tokens": [{"name": "anna"}]}', b'{"tokens": [], "x": 1}'])
def test_a_file_that_can_not_be_relied_on_lets_nobody_in(path: Path, damage: bytes) -> None:
    """And is never overwritten: one line names it."""
    token, _ = new_token(path, "anna", Scope.READ, None, 5)
    ring = Keyring(path)
    assert ring.find(token) is not None
    path.write_bytes(damage)
    assert ring.find(token) is None
    assert str(path) in ring.trouble
    with pytest.raises(UsageError, match=r"control\.tokens"):
        new_token(path, "bela", Scope.READ, None, 5)
    assert path.read_bytes() == damage


def test_a_file_that_others_may_read_lets_nobody_in(path: Path) -> None:
    """The message says how to mend it."""
    token, _ = new_token(path, "anna", Scope.READ, None, 5)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_tokens(path)
    assert Keyring(path).find(token) is None
    path.chmod(0o600)
    assert Keyring(path).find(token) is not None


def test_a_pipe_is_no_file(path: Path) -> None:
    """Nobody waits for its writer."""
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    assert Keyring(path).find("anything") is None


async def test_a_disk_that_hangs_holds_up_nobody_and_turns_nobody_out(path: Path) -> None:
    """Who was known may still halt; who is new is known when the disk goes on, and who was taken away no more."""
    anna, record = new_token(path, "anna", Scope.READ, None, 5)
    disk = Hung()
    ring = Keyring(path, disk=Aside("tokens", disk.thread))
    await ring.refresh()
    assert (ring.find(anna), ring.trouble) == (None, f"{path}: the tokens can't be read (no answer for 0.5 s)")
    disk.goes_on.set()
    await ring.refresh()
    assert (ring.find(anna), ring.trouble) == (record, "")
    disk.goes_on.clear()
    revoke_token(path, "anna")
    bela, other = new_token(path, "bela", Scope.READ, None, 6)
    await ring.refresh()
    assert (ring.find(anna), ring.find(bela)) == (record, None)
    assert "can't be read" in ring.trouble
    disk.goes_on.set()
    await ring.refresh()
    assert (ring.find(anna), ring.find(bela), ring.trouble) == (None, other, "")
