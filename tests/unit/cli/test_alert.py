"""`hrmd alert`: what it shows, and what it never does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli import main
from tests.unit.alerting.services import SECRET, service, urls_file


def test_every_address_is_tried_and_none_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that takes it and one that refuses: a row each, exit 1 that names who wasn't told."""
    with service() as well, service() as ill:
        ill.code = 401
        path = urls_file(tmp_path, well.url, ill.url)
        code = main(["alert", "test", "--json", "--set", f"alerts.urls_file={path}"])
        assert well.texts() == ["hrmd: a test | hrmd alert test was called: this is how an alert comes."]
    said = capsys.readouterr()
    assert (code, said.err) == (1, "error: not told: 4: JSON 127.0.0.1\n")
    assert json.loads(said.out) == [
        {"target": "3: JSON 127.0.0.1", "sent": True, "reason": ""},
        {"target": "4: JSON 127.0.0.1", "sent": False, "reason": "it answered 401"},
    ]
    assert SECRET not in said.out + said.err


def test_an_address_that_never_comes_to_an_end_holds_up_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A byte now and then is an answer to every read, and none to us: the row says so, and the others are tried."""
    with service() as ill, service() as well:
        ill.drips.set()
        path = urls_file(tmp_path, ill.url, well.url)
        changes = (f"alerts.urls_file={path}", "alerts.send_s=0.5")
        code = main(["alert", "test", "--json", *(part for change in changes for part in ("--set", change))])
        assert len(well.texts()) == 1
    said = capsys.readouterr()
    assert (code, said.err) == (1, "error: not told: 3: JSON 127.0.0.1\n")
    assert [(row["sent"], row["reason"]) for row in json.loads(said.out)] == [(False, "it hangs"), (True, "")]


def test_all_that_are_told_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table."""
    with service() as well:
        assert main(["alert", "test", "--set", f"alerts.urls_file={urls_file(tmp_path, well.url)}"]) == 0
    assert "3: JSON 127.0.0.1   yes" in capsys.readouterr().out


def test_without_addresses_it_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, which setting, and what it expects."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert main(["alert", "test"]) == 2
    expected = "error: alerts.urls_file: not set; expected a file with one apprise URL a line (docs/alerts.md)\n"
    assert capsys.readouterr().err == expected


def test_the_kinds_are_listed_and_what_of_them_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """By the minimum, the muted kinds, and the digest's own setting."""
    changes = ("alerts.minimum=critical", "alerts.muted=[feed]", "alerts.digest_minutes=null")
    assert main(["alert", "list", "--json", *(part for change in changes for part in ("--set", change))]) == 0
    rows = {row["kind"]: row for row in json.loads(capsys.readouterr().out)}
    sent = {kind: rows[kind]["sent"] for kind in ("halt", "orders", "feed", "calendar", "digest")}
    assert sent == {
        "halt": "from critical on", "orders": "yes", "feed": "muted", "calendar": "no", "digest": "no",
    }  # fmt: skip
    assert rows["halt"]["severities"] == ["warning", "critical"]


def test_a_list_for_nobody_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent goes nowhere without addresses."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert main(["alert", "list"]) == 0
    assert "nobody is told, whatever is sent: alerts.urls_file is not set" in capsys.readouterr().err
    assert main(["alert", "list", "--set", f"alerts.urls_file={urls_file(tmp_path, 'json://127.0.0.1:9')}"]) == 0
    assert "nobody is told" not in capsys.readouterr().err


def test_check_says_who_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And refuses a file that others may read."""
    path = urls_file(tmp_path, f"json://127.0.0.1:9/{SECRET}")
    main(["check", "--json", "--set", f"alerts.urls_file={path}"])
    path.chmod(0o644)
    main(["check", "--json", "--set", f"alerts.urls_file={path}"])
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    (found,) = [row for row in first if row["name"] == "alerts"]
    assert (found["state"], found["text"]) == ("ok", "told: 3: JSON 127.0.0.1")
    (found,) = [row for row in second if row["name"] == "alerts"]
    assert "others may read" in found["text"]
