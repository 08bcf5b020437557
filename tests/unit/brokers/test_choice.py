"""Which adapter the settings name, and what each says that it can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from daemon.brokers.adapter import Ability
from daemon.brokers.choice import ADAPTERS, adapter_of, budgets, feed_of, held_account
from daemon.cli import main
from daemon.cli.brokers import listed
from daemon.core.errors import SettingsError
from daemon.machine import Machine
from daemon.settings.feed import FeedSettings
from daemon.settings.orders import BrokerSettings
from tests.samples import settings_of


def test_every_name_that_settings_take_is_an_adapters() -> None:
    """In both places; nothing is picked on paper and on a tape."""
    assert {*ADAPTERS, "paper"} == set(get_args(BrokerSettings.model_fields["name"].annotation))
    assert {*ADAPTERS, "tape"} == set(get_args(FeedSettings.model_fields["source"].annotation))
    assert adapter_of(settings_of().broker) is None
    with pytest.raises(SettingsError, match=r"feed\.source: expected one of fyers, openalgo"):
        feed_of(settings_of())


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_the_one_that_is_named(name: str) -> None:
    """For orders and for ticks, with the account that no second daemon may trade on."""
    settings = settings_of(f"broker.name={name}", f"feed.source={name}")
    adapter = adapter_of(settings.broker)
    assert adapter is not None
    assert adapter is feed_of(settings)
    assert adapter.name == name
    account = held_account(settings.broker)
    assert account is not None
    assert account[1].startswith("http")


def test_one_budget_an_account(tmp_path: Path) -> None:
    """Ticks and orders of one broker share it; of two each has its own; on paper there is none."""
    files = [f"broker.{name}.calls_file={tmp_path / name}" for name in ADAPTERS]
    both = settings_of("broker.name=openalgo", "feed.source=fyers", *files)
    assert list(budgets(both, Machine(), live=True)) == ["fyers", "openalgo"]
    assert list(budgets(both, Machine(), live=False)) == ["openalgo"]
    assert budgets(settings_of(), Machine(), live=False) == {}


def test_hrmd_brokers(capsys: pytest.CaptureFixture[str]) -> None:
    """What each can and lacks, together everything; and where orders go by these settings."""
    assert main(["brokers", "--json", "--set", "broker.name=openalgo"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == listed(settings_of("broker.name=openalgo"))
    assert [row["name"] for row in rows] == ["paper", "fyers", "openalgo"]
    assert [row["takes_orders"] for row in rows] == [False, False, True]
    assert [row["gives_ticks"] for row in rows] == [True, False, False]
    for row in rows[1:]:
        assert sorted(row["can"] + row["lacks"]) == sorted(it.value for it in Ability)
    assert main(["brokers"]) == 0
    assert "OpenAlgo" in capsys.readouterr().out
