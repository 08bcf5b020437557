"""Token and secret: where they come from, how they are kept, and that they never show themselves."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from daemon.calls.secret import Secret, expiry_ns
from daemon.core.clock import NS_PER_S
from daemon.core.errors import SettingsError, UsageError
from daemon.fyers.credentials import Credentials, app_secret, read_token, token_path, write_token
from daemon.sandbox.market_rest import make_token


def payload(claims: object) -> Secret:
    """A token with this payload."""
    text = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return Secret(f"head.{text}.signature")


def test_a_token_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0600 from the first byte, also over a file that others could read; nothing else is left behind."""
    path = tmp_path / "var" / "token"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_token(path, Secret("abc"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == Secret("abc")
    assert [item.name for item in path.parent.iterdir()] == ["token"]


def test_a_token_that_can_not_be_written(tmp_path: Path) -> None:
    """Says which file, and leaves the old one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"broker\.fyers\.token_file: .*/file/token can't be written"):
        write_token(tmp_path / "file" / "token", Secret("abc"))


def test_a_token_that_is_not_there(tmp_path: Path) -> None:
    """Says what makes it."""
    with pytest.raises(SettingsError, match=r"No such file or directory.*hrmd login"):
        read_token(tmp_path / "missing")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a\xe9b", b"\x00" * 5000])
def test_a_token_file_of_garbage_is_one_line(tmp_path: Path, content: bytes) -> None:
    """Named, and nothing of its bytes shown."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Credentials("APP-100", read_token(path).reveal())
    assert "\n" not in str(caught.value)
    assert "\x00" not in str(caught.value)


def test_a_pipe_is_no_token_file(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(tmp_path / "token")
    with pytest.raises(SettingsError, match=r"token can't be read \(is a named pipe, expected a regular file\)"):
        read_token(tmp_path / "token")


def test_an_end_nested_too_deeply_is_no_end() -> None:
    """The payload is the venue's, or anybody's who wrote the file."""
    nested = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    assert expiry_ns(Secret(f"head.{nested}.signature")) is None


def test_systemd_hands_it_over(tmp_path: Path) -> None:
    """A credential comes before the file and before the variable; without one the file is it."""
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "FYERS_SECRET_KEY": "variable"}
    assert token_path(Path("file"), environment) == Path("file")
    assert app_secret(environment) == Secret("variable")
    (tmp_path / "fyers-token").write_text("t")
    (tmp_path / "fyers-secret").write_text("credential\n")
    assert token_path(Path("file"), environment) == tmp_path / "fyers-token"
    assert app_secret(environment) == Secret("credential")
    assert app_secret({}) is None


def test_nothing_shows_itself() -> None:
    """Neither in a representation nor in a format nor in an error."""
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {Credentials('A-100', 's3cret')!r}"
    with pytest.raises(UsageError) as caught:
        Credentials("A-100", "s3cret\nX")
    assert "s3cret" not in str(caught.value)


def test_the_end_of_a_token() -> None:
    """By its `exp`, in whole seconds."""
    assert expiry_ns(Secret(make_token(1_800_000_000))) == 1_800_000_000 * NS_PER_S
    assert expiry_ns(payload({"exp": 1_800_000_000.0})) == 1_800_000_000 * NS_PER_S


@pytest.mark.parametrize(
    "token",
    [
        Secret("sandbox-token"), Secret("a.b.c"), Secret("a.é.c"), payload([]), payload({}), payload({"exp": "soon"}),
        payload({"exp": True}), payload({"exp": -5}), payload({"exp": 9e15}), Secret(""),
    ],
)  # fmt: skip
def test_a_token_that_does_not_say(token: Secret) -> None:
    """What has no readable end has none, and nothing is raised."""
    assert expiry_ns(token) is None


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    """Is refused where the token must be its owner's alone; any bit for others will do."""
    path = tmp_path / "token"
    path.write_text("abc")
    for mode in (0o640, 0o604, 0o620, 0o677):
        path.chmod(mode)
        with pytest.raises(SettingsError, match=rf"others may read {path} \(mode {mode:04o}\): chmod 600 {path}"):
            read_token(path, private=True)
        assert read_token(path) == Secret("abc")
    path.chmod(0o400)
    assert read_token(path, private=True) == Secret("abc")
