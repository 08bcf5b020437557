from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.alerting.messages import Message
from daemon.alerting.targets import read_targets
from daemon.core.errors import SettingsError
from daemon.core.events import Severity
from daemon.settings.alerts import AlertSettings
from tests.unit.alerting.services import SECRET, service, urls_file

BOT = "123456789:AAbcdefghijklmnopqrstuvwxyz012345678"
MESSAGE = Message("hrmd: CRITICAL: halt", "trading is HALTED", Severity.CRITICAL, ("halt",))


def settings(path: Path | None, send_s: float = 10.0) -> AlertSettings:
    """With a file of addresses."""
    return AlertSettings(urls_file=path, send_s=send_s)


def test_a_service_is_told(tmp_path: Path) -> None:
    """Title, text and how grave it is; what has cleared comes as good news."""
    with service() as hook:
        (target,) = read_targets(settings(urls_file(tmp_path, hook.url)), {})
        assert target.deliver(MESSAGE) == ""
        assert target.deliver(Message("t", "b", Severity.CRITICAL, over=True)) == ""
        first, second = hook.got
        assert (first["title"], first["message"], first["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
        assert second["type"] == "success"


def test_a_service_that_refuses_is_said_by_its_code_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that apprise logs of it, for that may hold its address."""
    with service() as hook:
        hook.code = 403
        (target,) = read_targets(settings(urls_file(tmp_path, hook.url)), {})
        assert target.deliver(MESSAGE) == "it answered 403"
    assert target.deliver(MESSAGE) == "it can't be reached, or didn't answer in time"
    assert caplog.text == ""
    assert SECRET not in "".join(capfd.readouterr())


def test_a_service_that_hangs_is_left(tmp_path: Path) -> None:
    """After the time that the settings give it."""
    with service() as hook:
        hook.hangs.set()
        (target,) = read_targets(settings(urls_file(tmp_path, hook.url), send_s=0.1), {})
        assert target.deliver(MESSAGE) == "it can't be reached, or didn't answer in time"


def test_a_name_holds_no_secret(tmp_path: Path) -> None:
    """A host where the address has one, and never the bot, the user or the path."""
    urls = (
        f"tgram://{BOT}/12345/",
        "mailtos://user:pass-word@example.com",
        f"json://127.0.0.1:9/{SECRET}",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
    )
    names = [target.name for target in read_targets(settings(urls_file(tmp_path, *urls)), {})]
    assert names == ["3: Telegram", "4: E-Mail example.com", "5: JSON 127.0.0.1", "6: Discord", "7: Slack"]


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("nope://top-secret", 0o600, "{path}, line 1: not an apprise URL, or one that lacks something; expected"),
        ("json://", 0o600, "{path}, line 1: not an apprise URL"),
        ("# nothing\n", 0o600, "{path} has no URL; expected one apprise URL a line"),
        ("json://127.0.0.1/top-secret", 0o640, "others may read {path} (mode 0640): chmod 600 {path}"),
    ],
)
def test_a_file_that_is_no_good_is_refused(tmp_path: Path, text: str, mode: int, message: str) -> None:
    """In one line that names the file and its line, and nothing of what stands there."""
    path = tmp_path / "urls"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(SettingsError) as refused:
        read_targets(settings(path), {})
    assert str(refused.value).startswith(f"alerts.urls_file: {message.format(path=path)}")
    assert "top-secret" not in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """Nobody may believe that somebody is told."""
    with pytest.raises(SettingsError, match=r"can't be read \(No such file or directory\)"):
        read_targets(settings(tmp_path / "none"), {})


def test_a_credential_of_systemd_goes_before_the_settings(tmp_path: Path) -> None:
    """Which it also replaces; its mode is systemd's affair."""
    (tmp_path / "alert-urls").write_text("json://127.0.0.1:9/x")
    (tmp_path / "alert-urls").chmod(0o440)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert len(read_targets(settings(None), environment)) == 1
    assert len(read_targets(settings(tmp_path / "none"), environment)) == 1
    (tmp_path / "alert-urls").unlink()
    assert read_targets(settings(None), environment) == []


@pytest.mark.slow
def test_apprise_is_loaded_only_where_somebody_is_told() -> None:
    """A start without alerts is no slower."""
    program = "import sys, daemon.run.service, daemon.cli.alert; sys.exit('apprise' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
