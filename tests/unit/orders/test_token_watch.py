"""How long a token holds, at every side of its end."""

from __future__ import annotations

import pytest

from daemon.calls.secret import Secret
from daemon.core.clock import NS_PER_S
from daemon.orders.token_watch import TokenState, TokenWatch, span
from daemon.sandbox.market_rest import make_token

END_S = 1_767_650_400
"""2026-01-06 03:30 IST."""


def watch() -> TokenWatch:
    """Over a token that ends then, with an hour's warning."""
    return TokenWatch(Secret(make_token(END_S)), 3600)


@pytest.mark.parametrize(
    ("before_s", "state", "left_s"),
    [(3601, TokenState.VALID, 3601), (3600, TokenState.EXPIRING, 3600), (1, TokenState.EXPIRING, 1),
     (0, TokenState.EXPIRED, 0), (-9, TokenState.EXPIRED, 0)],
)  # fmt: skip
def test_states(before_s: int, state: TokenState, left_s: float) -> None:
    """Valid, then expiring, and from its second on expired."""
    now = (END_S - before_s) * NS_PER_S
    assert watch().state(now) is state
    assert watch().left_s(now) == left_s
    assert state.holds is (left_s > 0)


def test_words() -> None:
    """The end in India's time, and how long it is until then."""
    assert watch().text((END_S - 18_720) * NS_PER_S) == "expires on 06 Jan 2026 03:30 IST, in 5 h 12 min"
    assert watch().text(END_S * NS_PER_S) == "expired on 06 Jan 2026 03:30 IST"
    assert span(48 * NS_PER_S) == "48 s"
    assert span(600 * NS_PER_S) == "10 min"


def test_a_refusal_ends_it_early_until_another_token_comes() -> None:
    """The venue has the last word."""
    found, now = watch(), (END_S - 9999) * NS_PER_S
    found.refused("Could not authenticate the user")
    assert found.state(now) is TokenState.REFUSED
    assert found.left_s(now) == 0
    assert "Could not authenticate" in found.text(now)
    found.renew(Secret("sandbox-token"))
    assert found.state(now) is TokenState.UNKNOWN
    assert found.left_s(now) is None
