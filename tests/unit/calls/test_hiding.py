"""Secrets out of texts: what counts as one, and what is left alone."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from aiohttp import web

from daemon.calls.budget import Purpose, RateBudget
from daemon.calls.hiding import Hiding
from daemon.core.clock import LiveClock
from daemon.core.events import OrderType, Side
from daemon.fyers.credentials import Credentials, hiding_of
from daemon.fyers.requests import PlaceOrder
from daemon.fyers.rest import Endpoints, FyersRest
from daemon.sandbox.tokens import make_token
from tests.unit.sandbox.desk import WIDE

TOKEN = make_token(expires_s=1_900_000_000) + "".join(f"q{number:03d}" for number in range(60))
ORDER = PlaceOrder(tag="T1", symbol="NSE:SBIN-EQ", side=Side.BUY, quantity=1, type=OrderType.MARKET)


def pieces(text: str, secret: str) -> list[str]:
    """Every eight characters of the secret that a text holds."""
    return [secret[at : at + 8] for at in range(len(secret) - 7) if secret[at : at + 8] in text]


async def test_a_venue_that_repeats_the_token_at_every_length() -> None:
    """Its first 1, 2, 3 … characters, after 0 to 300 others, as every kind of error: none of it in any outcome."""
    said: list[str] = []

    async def echo(request: web.Request) -> web.Response:
        secret = request.headers["Authorization"].partition(":")[2]
        number = len(said)
        text = "x" * (number * 7 % 301) + secret[: number % (len(secret) + 1)]
        code = (-99, -16, -300, -999)[number % 4]
        return web.json_response({"s": "error", "code": code, "message": text}, status=(400, 401, 200, 502)[number % 4])

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = "http://{}:{}".format(*runner.addresses[0][:2])
    clock = LiveClock()
    try:
        async with FyersRest(Credentials("APP-100", TOKEN), RateBudget(clock, WIDE), clock, Endpoints.at(base)) as rest:
            for _ in range(len(TOKEN) + 1):
                placed = await rest.place(ORDER, Purpose.EXIT)
                said.append(f"{placed} {await rest.funds() if len(said) % 9 == 0 else ''}")
    finally:
        await runner.cleanup()
    assert not pieces("\n".join(said), TOKEN)
    assert "***" in "\n".join(said)


def test_the_key_to_the_data_socket_is_a_secret_as_well() -> None:
    """It stands in the token, and alone opens the data socket; encoded for an address both are found, too."""
    hiding = hiding_of(make_token("key/of=the+socket"), "the app's secret")
    assert hiding.hide("refused key/of=the+socket!") == "refused ***!"
    assert hiding.hide(f"?code={quote('the app' + chr(39) + 's secret', safe='')}&") == "?code=***&"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""), ("nothing of it", "nothing of it"), ("abcdefg", "abcdefg"), ("abcdefgh", "***"),
        ("-ghijklmno-", "-***-"), ("abcdefghij klmnopqrs", "*** ***"), ("hgfedcba", "hgfedcba"),
    ],
)  # fmt: skip
def test_pieces(text: str, left: str) -> None:
    """Eight characters in a row are a piece; seven are not, nor is another order."""
    assert Hiding("abcdefghijklmnopqrstuvwxyz").hide(text) == left


def test_it_shows_itself_to_nobody() -> None:
    """Neither do credentials that hold one."""
    assert "s3cret" not in f"{Hiding('s3cret')!r} {Credentials('A', 's3cret')!r} {hiding_of('s3cret')}"


def test_a_line_can_be_printed() -> None:
    """What a broker says commands no terminal, and stays on its line."""
    assert Hiding("x" * 32).line("no\n money \x1b[31m\u202e ₹") == r"no money \x1b[31m\u202e ₹"
