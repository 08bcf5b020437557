"""Settings that change while the daemon runs: tighter than the file, never wider, and whole or not at all."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.errors import SettingsError
from daemon.settings.changing import CHANGEABLE, LIMITS, changed, differing, tightened, value_of
from daemon.settings.loading import load_settings

FILE = load_settings(None, ["risk.max_daily_loss=20000", "risk.max_order_quantity=500", "risk.max_net_notional=null"])


def test_limits_get_tighter_and_the_files_again() -> None:
    """Money as text, numbers as numbers; where the file has no limit any is tighter."""
    tight = changed(FILE, FILE, {"risk.max_daily_loss": "5000.50", "risk.max_net_notional": 1000, "log.level": "debug"})
    assert (tight.risk.max_daily_loss, tight.risk.max_net_notional, tight.log.level) == (
        Decimal("5000.50"),
        1000,
        "debug",
    )
    assert differing(tight, FILE) == ["log.level", "risk.max_daily_loss", "risk.max_net_notional"]
    back = changed(tight, FILE, {"risk.max_daily_loss": "20000", "risk.max_net_notional": None, "log.level": "info"})
    assert back == FILE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"risk.max_daily_loss": "20000.01"}, "risk.max_daily_loss: expected at most 20000"),
        ({"risk.max_daily_loss": 10**9}, "expected at most 20000"),
        ({"risk.max_daily_loss": None}, "risk.max_daily_loss: expected a number, got None"),
        ({"risk.max_daily_loss": 0}, "risk.max_daily_loss: expected greater than 0, got 0"),
        ({"risk.max_daily_loss": -1}, "risk.max_daily_loss"),
        ({"risk.max_daily_loss": "NaN"}, "risk.max_daily_loss"),
        ({"risk.max_daily_loss": "a lot"}, "risk.max_daily_loss: expected a number such as 1500 or 0.05, got 'a lot'"),
        ({"risk.max_order_quantity": 1.5}, "risk.max_order_quantity: expected a whole number such as 1500, got '1.5'"),
        ({"risk.max_order_quantity": "x"}, "risk.max_order_quantity"),
        ({"risk.exits_when_halted": "true"}, "doesn't change while hrmd runs"),
        ({"broker.name": "fyers"}, "doesn't change while hrmd runs"),
        ({"risk": "x"}, "doesn't change while hrmd runs"),
        ({"": "x"}, "doesn't change while hrmd runs"),
        ({"log.level": "loud"}, "log.level: expected one of 'debug', 'info', 'warning' or 'error', got 'loud'"),
        ({"risk.max_daily_loss": 0, "log.level": 5}, "got 5; risk.max_daily_loss: expected greater than 0"),
        ({"risk.max_position_quantity": 100}, "expected risk.max_order_quantity not above risk.max_position_quantity"),
    ],
)
def test_what_can_not_be(changes: dict[str, Any], says: str) -> None:
    """The key, and what it may be; of several changes none is made."""
    with pytest.raises(SettingsError) as refused:
        changed(FILE, FILE, {"log.level": "debug", **changes})
    assert says in str(refused.value)
    assert not re.search("input|Value error", str(refused.value))  # a library's words


@given(
    st.dictionaries(
        st.sampled_from(sorted(CHANGEABLE)),
        st.none()
        | st.integers(-5, 10**7)
        | st.floats()
        | st.text(max_size=12)
        | st.sampled_from(["debug", "5", "1e3"]),
        max_size=4,
    )
)
def test_no_change_widens_a_limit(changes: dict[str, Any]) -> None:
    """Whatever is asked for: refused, or every limit at most the file's."""
    try:
        after = changed(FILE, FILE, changes)
    except SettingsError:
        return
    for key in LIMITS:
        limit, now = value_of(FILE, key), value_of(after, key)
        assert limit is None or (now is not None and Decimal(str(now)) <= Decimal(str(limit)))


def test_what_an_earlier_process_was_told_holds_where_it_is_tighter() -> None:
    """A file that is tighter by now wins; what doesn't fit, or is no limit, is passed over."""
    remembered = {"risk.max_daily_loss": "5000", "risk.max_order_quantity": 900, "log.level": "debug", "risk.gone": 1}
    kept = tightened(FILE, remembered)
    assert differing(kept, FILE) == ["risk.max_daily_loss"]
    tighter = load_settings(None, ["risk.max_daily_loss=1000"])
    assert tightened(tighter, {"risk.max_daily_loss": "5000"}) == tighter
