from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.control.auth import check_server_token, read_token, server_token
from daemon.core.errors import UsageError

TOKEN = "a-token-of-some-length"


def test_a_missing_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """With its directories, mode 0600, and the same token on the next start."""
    path = tmp_path / "var" / "control.token"
    token = server_token(path, {})
    assert len(token) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server_token(path, {}) == token
    assert server_token(tmp_path / "other", {}) != token


def test_a_disk_that_does_not_say_what_is_there_is_said_in_one_line(tmp_path: Path) -> None:
    """And no other token is made."""
    path = tmp_path / "var" / "control.token"
    path.parent.symlink_to(path.parent)
    with pytest.raises(UsageError, match=r"control\.token.*symbolic links"):
        check_server_token(path, {})
    with pytest.raises(UsageError, match=r"control\.token can't be made"):
        server_token(path, {})


@pytest.mark.parametrize("left", [b"", bytes(44)])
def test_a_file_that_the_power_took_the_content_of_is_made_anew(tmp_path: Path, left: bytes) -> None:
    """Nothing is lost that it held, and a start that is refused for it would be refused for ever."""
    path = tmp_path / "control.token"
    path.write_bytes(left)
    check_server_token(path, {})
    assert path.read_bytes() == left
    token = server_token(path, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_token(path) == token


def test_the_credential_of_systemd_wins(tmp_path: Path) -> None:
    """`$CREDENTIALS_DIRECTORY/control-token` is used, and no file is made; a directory without it changes nothing."""
    (tmp_path / "control-token").write_text(TOKEN + "\n")
    path = tmp_path / "control.token"
    assert server_token(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == TOKEN
    assert not path.exists()
    assert server_token(path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == read_token(path)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The message names the file, its mode and the remedy."""
    path = tmp_path / "control.token"
    path.write_text(TOKEN)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    with pytest.raises(UsageError, match="is a directory, expected a regular file"):
        server_token(folder, {})
    path.chmod(0o644)
    with pytest.raises(UsageError, match=r"control\.token.*0644.*chmod 600"):
        server_token(path, {})


@pytest.mark.parametrize("content", [b"", b"short", b"with a space in the middle", "ünïcode-token-of-length".encode()])
def test_unusable_tokens_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, short, with spaces, or not ASCII: the message names the file."""
    path = tmp_path / "control.token"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"control\.token"):
        read_token(path)


def test_a_pipe_is_no_token_file(tmp_path: Path) -> None:
    """`hrmd ctl` doesn't wait for somebody to write into it."""
    os.mkfifo(tmp_path / "control.token")
    with pytest.raises(UsageError, match=r"can't be read.*is a named pipe"):
        read_token(tmp_path / "control.token")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Reading doesn't make it: that is the daemon's."""
    with pytest.raises(UsageError, match=r"no such token file; hrmd makes it as it starts \(control\.token_file\)"):
        read_token(tmp_path / "none")


def test_a_missing_file_of_the_budget_is_the_budget_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `hrmd budget show` is told of it."""
    assert main(["budget", "show", "--token-file", str(tmp_path / "none")]) == 2
    assert "hrmd budget makes it as it starts (budget.token_file)" in capsys.readouterr().err


def test_a_place_where_no_file_can_be_made_is_named(tmp_path: Path) -> None:
    """Here: below a file."""
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(UsageError, match=r"control\.token_file: .*can't be made"):
        server_token(blocker / "control.token", {})


def test_the_token_is_not_in_the_environment(tmp_path: Path) -> None:
    """Making a token leaves the process' environment alone."""
    token = server_token(tmp_path / "control.token", os.environ)
    assert token not in os.environ.values()
