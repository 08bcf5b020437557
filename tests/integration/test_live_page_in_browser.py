"""The live page in a browser, where playwright and a Chromium are: signed in by a link, honest when hrmd is lost."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from daemon.control.rows import Listing
from daemon.core.clock import DAY_NS
from daemon.core.events import Action, Flatten, Halt, TradingState
from tests.integration.browsers import Visit, clipped
from tests.unit.control.fakes import (
    BARS,
    DECISIONS,
    NOW,
    ORDERS,
    POSITIONS,
    STATUS,
    FakeDaemon,
    build_server,
    running_in_thread,
)

CLIPPED = clipped("td, th, b, span, p, small, h1, h2, dd, dt, label, div, button, li", "#chart, #curve")
NASTY = "<img src=x onerror=alert(1)>"


class LiveVisit(Visit):
    """Of the page of a daemon, by a link."""

    def pill(self, text: str) -> None:
        """Wait until it says so."""
        self.page.locator("#pill", has_text=re.compile("^" + text)).wait_for(timeout=30_000)

    @property
    def is_green(self) -> bool:
        """Whether the pill is."""
        return "good" in self.page.locator("#pill").get_attribute("class")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1280, 768, 390])
def test_nothing_is_clipped_fetched_or_complained_of(browser: Any, width: int, scheme: str) -> None:
    """From a desk to a telephone; the code is gone from the address, and green means active and healthy."""
    server = build_server(FakeDaemon())
    with running_in_thread(server) as url:
        visit = LiveVisit(browser, server.owners_link().link, width, scheme)
        visit.pill("ACTIVE")
        visit.page.wait_for_selector("#chart[data-bars]")
        assert visit.is_green
        assert visit.page.url == url + "/"
        assert visit.said == []
        assert all(asked.startswith(url) for asked in visit.asked)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.page.evaluate(CLIPPED) == []
        visit.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        halt = visit.page.get_by_role("button", name="Halt", exact=True).bounding_box()
        assert 0 <= halt["y"] <= 844 - halt["height"]
        holds = [one for one in visit.page.locator("#decisions li").all_inner_texts() if "hold" in one]
        assert holds
        assert not any("500" in one for one in holds)


def test_a_link_opens_once(browser: Any) -> None:
    """The second time the door is shown, and why; a token opens it."""
    server = build_server(FakeDaemon())
    with running_in_thread(server):
        link = server.owners_link().link
        LiveVisit(browser, link).pill("ACTIVE")
        second = LiveVisit(browser, link)
        second.pill("signed out")
        assert "hrmd ctl page" in second.page.locator("#said").inner_text()
        assert second.page.locator("#grid").is_hidden()
        second.page.locator("#token").fill("a-token-of-some-length")
        second.page.keyboard.press("Enter")
        second.pill("ACTIVE")


def test_a_session_that_is_over_says_so_and_a_link_in_its_place_opens_another(browser: Any) -> None:
    """In the same tab, of which the browser loads nothing anew; the code is gone from the address there, too."""
    server = build_server(FakeDaemon())
    with running_in_thread(server) as url:
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.context.clear_cookies()
        visit.pill("signed out")
        assert visit.page.locator("#said").inner_text().startswith("The session is over")
        visit.page.goto(server.owners_link().link)
        visit.pill("ACTIVE")
        assert visit.page.url == url + "/"
        assert visit.page.locator("#said").is_hidden()


def test_a_daemon_that_stands_still_is_not_signed_out_of(browser: Any) -> None:
    """Where the page comes and its first question has no answer, the pill says why; then it goes on by itself."""
    server = build_server(FakeDaemon())
    with running_in_thread(server) as url:
        visit = LiveVisit(browser, url + "/healthz")
        visit.page.route("**/api/config", lambda route: route.fulfill(status=503, json={"detail": "it stands still"}))
        visit.page.goto(server.owners_link().link)
        visit.pill("it stands still")
        visit.page.unroute("**/api/config")
        visit.pill("ACTIVE")


def test_a_lost_daemon_is_never_green(browser: Any) -> None:
    """The pill says since when, the figures are grey, and the title says it."""
    server = build_server(FakeDaemon())
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
    visit.pill("lost since ")
    assert not visit.is_green
    assert visit.page.title() == "LOST · hrmd"
    assert visit.page.locator("#lost-banner").is_visible()
    assert visit.page.evaluate("getComputedStyle(document.getElementById('figures')).opacity") == "0.45"


@pytest.mark.parametrize(
    ("changes", "pill", "banner"),
    [
        ({"trading_state": TradingState.HALTED, "trading_reason": NASTY}, "HALTED",
         f"HALTED: no new risk is taken. {NASTY}"),
        ({"strategy": "rules", "strategy_reason": "hrm hung"}, "ACTIVE",
         "Stepped down: rules decides instead of hrm: hrm hung"),
        ({"simulated": False, "model_simulated": True, "model": "tiny"}, "ACTIVE", "Untried model: tiny has learned"),
        ({"strategies_missing": {"ppo": "no file"}}, "ACTIVE", "Rung missing: ppo can't be built: no file"),
    ],
)  # fmt: skip
def test_banners_say_what_nobody_may_overlook(browser: Any, changes: dict[str, Any], pill: str, banner: str) -> None:
    """And texts stay texts, whatever they look like."""
    daemon = FakeDaemon()
    daemon.shown = msgspec.structs.replace(STATUS, **changes)
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill(pill)
        assert any(one.startswith(banner) for one in visit.page.locator("#banners .banner").all_inner_texts())
        assert visit.page.locator("img").count() == 0


def test_a_day_that_lost_what_it_may_is_not_green(browser: Any) -> None:
    """It trades and is healthy, and opens nothing."""
    daemon = FakeDaemon()
    daemon.reached = "the day's loss has reached its limit: nothing is opened"
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE, opens nothing")
        assert not visit.is_green
        assert f"No more today: {daemon.reached}" in visit.page.locator("#banners").inner_text()


def test_what_is_ill_is_not_green(browser: Any) -> None:
    """Though it trades; the banner has what to do."""
    daemon = FakeDaemon()
    daemon.sicken("no tick for 90 s")
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE, unhealthy")
        assert not visit.is_green
        assert "no tick for 90 s → look at the feed" in visit.page.locator("#banners").inner_text()


def test_what_is_only_partly_new_is_not_green(browser: Any) -> None:
    """The account is fresh, orders and decisions are not: no green pill, and since when is said; then it is over."""
    daemon = FakeDaemon()
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.page.route("**/decisions*", lambda route: route.fulfill(status=503, json={"detail": "too busy"}))
        visit.pill("ACTIVE, partly old")
        assert not visit.is_green
        assert "(too busy)" in visit.page.locator("#part-banner").inner_text()
        visit.page.unroute("**/decisions*")
        visit.pill("ACTIVE$")
        assert visit.is_green
        assert visit.page.locator("#part-banner").is_hidden()


def test_the_first_bars_are_told_in_words(browser: Any) -> None:
    """How many bars there are so far, and no regime of a market of which too little was seen."""
    daemon = FakeDaemon()
    early = {"action": Action.HOLD, "ts": NOW + DAY_NS, "complexity": 0.1, "regime": "unknown"}
    why = "1 bar, at least 2 are needed"
    daemon.rings[Listing.DECISIONS].add(msgspec.structs.replace(DECISIONS[0], **early, reason=why, segments=0))
    daemon.rings[Listing.DECISIONS].add(msgspec.structs.replace(DECISIONS[0], **early, segments=2))
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.wait_for_selector("#decisions li time")
        newest, before = visit.page.locator("#decisions li p").all_inner_texts()[:2]
    assert "market not yet known: too few bars" in newest
    assert before.startswith("Why: 1 bar so far, at least 2 are needed.")


def test_times_are_of_the_machine_of_hrmd(browser: Any) -> None:
    """Where the clock of the one that shows the page is seven hours behind, and when it is set anew."""
    server = build_server(FakeDaemon())
    behind = "(() => { const at = Date.now.bind(Date); window.off = -25200000; Date.now = () => at() + window.off; })()"
    with running_in_thread(server) as url:
        visit = LiveVisit(browser, url + "/healthz")
        visit.page.add_init_script(behind)
        visit.page.goto(server.owners_link().link)
        visit.pill("ACTIVE")
        for off in ("-25200000", "0"):
            visit.page.evaluate(f"window.off = {off}")
            visit.page.evaluate("show('said', false)")
            visit.page.get_by_role("button", name="Halt", exact=True).click()
            visit.page.locator("#ask-yes").click()
            said = visit.page.wait_for_selector("#said:has-text('taken at')").inner_text()
            hours = {time.strftime("%H:%M", time.gmtime(time.time() + 19800 + by)) for by in (-60, 0)}
            assert re.search(r"taken at (..:..)", said)[1] in hours


def test_commands_ask_first(browser: Any) -> None:
    """Cancelled, nothing goes; confirmed by keyboard, it goes with its reason."""
    daemon = FakeDaemon()
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.get_by_role("button", name="Flatten").click()
        visit.page.keyboard.press("Escape")
        visit.page.get_by_role("button", name="Halt", exact=True).focus()
        visit.page.keyboard.press("Enter")
        visit.page.locator("#reason").fill("lunch")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("#said:has-text('taken at')")
        assert "already" not in visit.page.locator("#said").inner_text()
        daemon.shown = msgspec.structs.replace(daemon.shown, trading_state=TradingState.HALTED, trading_reason="lunch")
        visit.page.get_by_role("button", name="Halt", exact=True).focus()
        visit.page.keyboard.press("Enter")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector("#said:has-text('trading was HALTED already: lunch')")
    assert [type(one) for one in daemon.submitted] == [Halt, Halt]
    assert not any(isinstance(one, Flatten) for one in daemon.submitted)
    assert daemon.submitted[0].reason == "lunch"  # type: ignore[attr-defined]


def test_a_yes_is_a_press_of_its_own(browser: Any) -> None:
    """Neither a key that is held down nor the second half of a double click is one: neither halts, neither orders."""
    daemon = FakeDaemon()
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        page, asked = visit.page, visit.page.locator("#ask")
        page.get_by_role("button", name="Halt", exact=True).focus()
        for _ in range(3):
            page.keyboard.down("Enter")
        page.keyboard.up("Enter")
        assert asked.is_visible()
        page.keyboard.press("Escape")
        page.locator("#ticket-quantity").fill("5")
        for _ in range(3):
            page.keyboard.down("Enter")
        page.keyboard.up("Enter")
        assert asked.is_visible()
        yes = page.locator("#ask-yes").bounding_box()
        page.mouse.move(yes["x"] + 5, yes["y"] + 5)
        page.mouse.down(click_count=2)
        page.mouse.up(click_count=2)
        assert asked.is_visible()
        assert (daemon.submitted, daemon.tickets) == ([], [])
        page.mouse.click(yes["x"] + 5, yes["y"] + 5)
        visit.page.wait_for_selector("#said:has-text('Approved as H7')")
    assert len(daemon.tickets) == 1


def test_the_price_of_one_symbol_is_none_of_another(browser: Any) -> None:
    """Of an order by hand: chosen anew, the symbol's own last price stands there, or nothing."""
    daemon = FakeDaemon()
    daemon.shown = msgspec.structs.replace(STATUS, symbols=["NSE:SBIN-EQ", "NSE:TCS-EQ"])
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.locator("#ticket-type").select_option("limit")
        assert visit.page.locator("#ticket-price").input_value() != ""
        visit.page.locator("#ticket-symbol").select_option("NSE:TCS-EQ")
        assert visit.page.locator("#ticket-price").input_value() == ""


@pytest.mark.parametrize(
    ("after_ns", "said"), [(-1, "volume 1,000"), (1, "volume 1,000 · then: buy up to 500, 61 % sure")]
)
def test_the_chart_says_what_was_decided_on_its_newest_bar(browser: Any, after_ns: int, said: str) -> None:
    """Not what was decided before it closed; where another symbol's bars don't come, none stay under its name."""
    daemon = FakeDaemon()
    daemon.shown = msgspec.structs.replace(STATUS, symbols=["NSE:SBIN-EQ", "NSE:TCS-EQ"])
    ends = DECISIONS[-1].ts + 2
    daemon.rings[Listing.BARS].add(msgspec.structs.replace(BARS[0], ts_open=ends - 2, ts_close=ends))
    newest = msgspec.structs.replace(DECISIONS[0], ts=ends + after_ns, action=Action.BUY_LONG)
    daemon.rings[Listing.DECISIONS].add(newest)
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.wait_for_selector("#chart[data-bars]")
        read = visit.page.locator("#read")
        assert read.inner_text().endswith(said)
        visit.page.route("**/bars*", lambda route: route.fulfill(status=503, json={"detail": "too busy"}))
        visit.page.locator("#symbol").select_option("NSE:TCS-EQ")
        assert read.inner_text().startswith("NSE:TCS-EQ: ")
        assert visit.page.locator("#chart").get_attribute("data-bars") == "0"


def test_candles_grow_on_the_bars_of_any_session(browser: Any) -> None:
    """Half an hour counted from 09:15 where nothing is known, else from what the newest bar was counted from."""
    server = build_server(FakeDaemon())
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        began = "new Date(1000 * beginning(Date.parse('2021-04-05T09:20:00+05:30') / 1000, 1800{})).toISOString()"
        anchor = ", Date.parse('2021-04-05T11:00:00Z') / 1000"
        assert visit.page.evaluate(began.format(""))[11:16] == "09:15"
        assert visit.page.evaluate(began.format(anchor))[11:16] == "09:00"


def test_a_position_is_closed_and_no_more(browser: Any) -> None:
    """The other side, all of it, only to close; and an order is cancelled by its id."""
    daemon = FakeDaemon()
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.get_by_role("button", name="Close NSE:SBIN-EQ").click()
        visit.page.locator("#ask-yes").click()
        visit.page.wait_for_selector("#said:has-text('Approved as H7')")
        visit.page.get_by_role("button", name="Cancel order H0").click()
        visit.page.locator("#ask-yes").click()
        visit.page.wait_for_selector("#said:has-text('H0')")
    (ticket,) = daemon.tickets
    assert (ticket.side.value, ticket.quantity, ticket.reduce_only) == ("buy", -POSITIONS[0].quantity, True)
    assert [one[0] for one in daemon.cancelled] == ["H0"]


def test_an_order_by_hand_is_looked_over_and_denied_in_words(browser: Any) -> None:
    """Its price by the last one known, in Indian grouping."""
    daemon = FakeDaemon()
    daemon.held = [msgspec.structs.replace(POSITIONS[0], last_price=Decimal("347.15"))]
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.locator("#ticket-quantity").fill("1000")
        visit.page.get_by_role("button", name="Look it over").click()
        said = visit.page.locator("#ask-text").inner_text()
        assert said == "Buy 1,000 NSE:SBIN-EQ at the market, about ₹3,47,150.00."
        visit.page.locator("#ask-yes").click()
        visit.page.wait_for_selector("#ticket-said:has-text('Denied by risk: lot size is 1000')")


def test_an_order_without_an_answer_keeps_its_key_over_a_reload(browser: Any) -> None:
    """It was taken, and nobody heard so: asked for again on the page that was loaded anew, it is the same one."""
    daemon = FakeDaemon()
    server = build_server(daemon)

    def order(visit: LiveVisit, said: str) -> None:
        visit.pill("ACTIVE")
        visit.page.locator("#ticket-quantity").fill("5")
        visit.page.get_by_role("button", name="Look it over").click()
        visit.page.locator("#ask-yes").click()
        visit.page.wait_for_selector(f"#ticket-said:has-text('{said}')")

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.page.route("**/control/order", lose)
        order(visit, "No answer yet")
        visit.page.unroute("**/control/order")
        visit.page.reload()
        order(visit, "Approved as H7")
        order(visit, "Approved as H7")
    first, again, *another = [ticket.key for ticket in daemon.tickets]
    assert (again == first, len(another), first in another) == (True, 1, False)


def test_what_is_of_another_day_says_so(browser: Any) -> None:
    """Beside today's, which have the time alone: an order of yesterday is none of today."""
    daemon = FakeDaemon()
    daemon.shown = msgspec.structs.replace(STATUS, ts=NOW + DAY_NS)
    daemon.known_orders = [msgspec.structs.replace(ORDERS[0], ts=NOW + DAY_NS), ORDERS[2]]
    server = build_server(daemon)
    with running_in_thread(server):
        visit = LiveVisit(browser, server.owners_link().link)
        visit.pill("ACTIVE")
        visit.page.wait_for_selector("#orders tbody tr")
        times = visit.page.locator("#orders tbody tr td:first-child").all_inner_texts()
        assert [one.split("\n")[-1] for one in times] == ["09:15:00", "5 Apr 09:15"]
