"""What the tests that look at pages share."""

from __future__ import annotations

from typing import Any


class Visit:
    """A page that was opened, and what it complained of or asked for."""

    def __init__(self, browser: Any, address: str, width: int = 1440, scheme: str = "light") -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def until(self, expression: str) -> None:
        """Wait until JavaScript is true; asked again from here: the page's policy lets nobody evaluate text in it."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"not within 10 s: {expression}")


def clipped(kinds: str, spared: str) -> str:
    """JavaScript that finds elements of `kinds`, outside of those `spared`, whose text is wider than they are."""
    return f"""[...document.querySelectorAll('{kinds}')]
    .filter(one => one.clientWidth && !one.closest('{spared}') && one.scrollWidth > one.clientWidth + 1)
    .map(one => one.outerHTML.slice(0, 200))"""
