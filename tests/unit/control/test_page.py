"""The live page as one response: small, whole, and fenced in by the hashes of its own parts."""

from __future__ import annotations

import base64
import hashlib
import re

from daemon.control.page import SCRIPTS, content_security_policy, page
from daemon.report.shell import ATTRIBUTION

MOST_BYTES = 400_000


def parts(tag: str) -> list[str]:
    """What stands in the elements of that name."""
    return re.findall(rf"<{tag}>(.*?)</{tag}>", page(), re.DOTALL)


def test_it_is_whole_and_small() -> None:
    """Every place was filled: charts, scripts, styles, and the notice that the charts' licence asks for."""
    html = page()
    assert len(html.encode()) <= MOST_BYTES
    assert len(parts("script")) == len(SCRIPTS) + 1
    assert len(parts("style")) == 1
    assert ATTRIBUTION in html
    assert "<!--" not in re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)


def test_the_policy_lets_in_its_own_parts_and_nothing_else() -> None:
    """The hash of every script and style, in order; no other source, no frame around it, no inline handler."""
    policy = dict(part.strip().split(" ", 1) for part in content_security_policy(page()).split(";"))

    def hashes(tag: str) -> list[str]:
        return [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in parts(tag)]

    assert policy["script-src"].split() == hashes("script")
    assert policy["style-src"].split() == hashes("style")
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert not re.search(r"<script\s|<style\s", page())


def test_nothing_is_fetched_from_elsewhere() -> None:
    """Of other addresses only the charts' notice has one, as a link; the scripts of ours name none."""
    markup = re.sub(r"<(script|style)>.*?</\1>", "", page(), flags=re.DOTALL)
    assert re.findall(r"https?://[^\"' <]+", markup) == ["https://www.tradingview.com/"]
    assert not re.search(r"\s(src|srcset|action|poster|data)=|@import|url\(", markup + parts("style")[0])
    assert not re.search(r"\son\w+=|\sstyle=", markup)
    own = "".join(parts("script")[1:])
    assert set(re.findall(r"https?://[^\"' ]+", own)) == {"http://www.w3.org/2000/svg"}


def test_texts_go_in_as_text() -> None:
    """No script of ours makes HTML or code of a string, whatever a reason or a symbol calls itself."""
    own = "".join(parts("script")[1:])
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(\"", own
    )


def test_what_scripts_look_for_is_there() -> None:
    """Every id that is asked for is on the page, once."""
    markup = re.sub(r"<(script|style)>.*?</\1>", "", page(), flags=re.DOTALL)
    ids = re.findall(r'\sid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))
    own = "".join(parts("script")[1:])
    wanted = set(re.findall(r'\b(?:byId|say|show|table|newChart)\("([\w-]+)"', own))
    assert wanted - set(ids) == {"lost-banner", "lost-text", "part-banner", "part-text"}, "these are made by main.js"
    assert {
        one for pair in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', markup) for one in pair.split()
    } <= {*ids}
