"""Settings that had another name before: it goes on working, in every place that settings come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.core.errors import SettingsError
from daemon.settings.layers import read_layers
from daemon.settings.loading import build_settings, load_settings
from daemon.settings.renamed import RENAMED, renamed
from daemon.settings.tree import Settings


def test_an_old_name_in_a_file_means_the_new_one(tmp_path: Path) -> None:
    """And an override by the new name lies over it."""
    file = tmp_path / "mine.yaml"
    file.write_text("broker: {name: fyers, fyers: {reconcile_s: 9, app_id: MINE-100, market_orders: protected}}\n")
    broker = load_settings(file).broker
    assert (broker.live.reconcile_s, broker.live.market_orders, broker.fyers.app_id) == (9, "protected", "MINE-100")
    assert load_settings(file, ["broker.live.reconcile_s=8"]).broker.live.reconcile_s == 8
    assert load_settings(file, ["broker.fyers.reconcile_s=7"]).broker.live.reconcile_s == 7


def test_an_old_name_in_the_environment() -> None:
    """As well."""
    layers = read_layers(environment={"HRMD_BROKER__FYERS__UNKNOWN_SETTLE_S": "20"})
    assert build_settings(layers).broker.live.unknown_settle_s == 20


def test_both_names_in_one_place_are_refused(tmp_path: Path) -> None:
    """The line names both."""
    file = tmp_path / "mine.yaml"
    file.write_text("broker: {live: {reconcile_s: 9}, fyers: {reconcile_s: 8}}\n")
    with pytest.raises(SettingsError, match=r"broker\.fyers\.reconcile_s is called broker\.live\.reconcile_s now"):
        load_settings(file)


def test_a_bad_value_under_an_old_name_is_refused_by_the_new_one() -> None:
    """Which is where it has to be mended."""
    with pytest.raises(SettingsError, match=r"--set: broker\.live\.reconcile_s: expected a number.*got 'soon'"):
        load_settings(None, ["broker.fyers.reconcile_s=soon"])


def test_a_journal_of_before_is_read() -> None:
    """Its settings are whole, under the old names."""
    before = load_settings().model_dump(mode="json")
    for old, new in RENAMED.items():
        (*path, name), (*now, key) = old.split("."), new.split(".")
        _at(before, path)[name] = _at(before, now).pop(key)
    del before["broker"]["live"]
    assert Settings(**renamed(before, "the journal")) == load_settings()


def test_the_addresses_of_a_live_feed_are_its_brokers(tmp_path: Path) -> None:
    """They stood under `feed.live` before there were two brokers."""
    file = tmp_path / "mine.yaml"
    file.write_text("feed: {live: {socket_url: 'ws://127.0.0.1:1/', start_s: 9}}\n")
    settings = load_settings(file, ["feed.live.index_map_url=http://127.0.0.1:2/"])
    fyers = settings.broker.fyers
    assert (fyers.socket_url, fyers.index_map_url) == ("ws://127.0.0.1:1/", "http://127.0.0.1:2/")
    assert settings.feed.live.start_s == 9


def test_every_new_name_exists_and_no_old_one_does() -> None:
    """Else it would rename into nothing, or hide a setting."""
    shipped = load_settings().model_dump()
    for old, new in RENAMED.items():
        for path, there in ((old, False), (new, True)):
            *sections, name = path.split(".")
            place = shipped
            for section in sections:
                place = place[section]
            assert (name in place) is there, path


def _at(place: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for section in path:
        place = place[section]
    return place
