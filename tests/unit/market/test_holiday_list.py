"""NSE's list as a file: both shapes, and what is no list of trading holidays."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from daemon.core.errors import UsageError
from daemon.market.holiday_list import read_holiday_list

DAYS = {
    dt.date(2027, 1, 26): "Republic Day",
    dt.date(2027, 3, 22): "Holi",
    dt.date(2027, 3, 26): "Good Friday",
    dt.date(2027, 4, 14): "Dr. Baba Saheb Ambedkar Jayanti",
    dt.date(2027, 8, 15): "Independence Day",
    dt.date(2027, 10, 29): "Diwali Laxmi Pujan",
}
"""The shape of a year: made up but for the days of fixed date."""


def rows(days: dict[dt.date, str]) -> list[dict[str, Any]]:
    """As NSE's holiday master has them."""
    return [
        {"tradingDate": f"{day:%d-%b-%Y}", "weekDay": f"{day:%A}", "description": name, "morning_session": None,
         "evening_session": None, "Sr_no": number}
        for number, (day, name) in enumerate(days.items(), 1)
    ]  # fmt: skip


def read(directory: Path, text: str) -> dict[dt.date, str]:
    """What a file of this text lists."""
    path = directory / "list"
    path.write_text(text, encoding="utf-8")
    return read_holiday_list(path)


def test_the_holiday_master(tmp_path: Path) -> None:
    """The cash market's days, whatever other segments have; or the bare list."""
    document = {"CBM": [{"tradingDate": "01-Apr-2027"}], "CM": rows(DAYS)}
    assert read(tmp_path, json.dumps(document)) == DAYS
    assert read(tmp_path, json.dumps(rows(DAYS))) == DAYS


@pytest.mark.parametrize("layout", ["%d-%b-%Y", "%Y-%m-%d", "%B %d, %Y", "%d %B %Y", "%d-%B-%Y"])
def test_the_page_as_csv(tmp_path: Path, layout: str) -> None:
    """With its headline, odd spaces, empty lines and stars."""
    lines = [f'"{n}","{day.strftime(layout)}","{day:%A}","{name}*"' for n, (day, name) in enumerate(DAYS.items(), 1)]
    text = "\ufeffHOLIDAYS FOR THE YEAR 2027\n\n" + '"SR. NO ","DATE ","DAY ","DESCRIPTION "\n' + "\n\n".join(lines)
    assert read(tmp_path, text) == DAYS


def changed(**changes: Any) -> list[dict[str, Any]]:
    """The list with a change in its second day."""
    days = rows(DAYS)
    days[1] |= changes
    return days


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"FO": rows(DAYS)}, "under CM; it has FO"),
        ({}, "under CM; it has nothing"),
        ({"CM": "closed"}, "expected a list of days, got a str"),
        (["26-Jan-2027"], "day 1: expected tradingDate and description, got '26-Jan-2027'"),
        ([], "holds no holiday"),
        (rows(DAYS)[:4], "4 holidays of 2027; expected 5 to 30"),
        (rows({dt.date(2027, 1, 1) + dt.timedelta(days=n): "x" for n in range(31)}), "31 holidays of 2027; expected 5"),
        (rows(DAYS)[1:], "Republic Day (Tue 2027-01-26) is missing; expected NSE's list of trading holidays"),
        (changed(weekDay="Friday"), "day 2: 2027-03-22 is a Monday, the list says Friday"),
        (changed(tradingDate="26-Jan-2027", weekDay=""), "day 2: 2027-01-26 stands there twice (Republic Day, Holi)"),
        (changed(tradingDate="22-03-2027"), "day 2: expected a date such as 26-Jan-2027, got '22-03-2027'"),
        (changed(tradingDate="22-Mar-1927", weekDay=""), "day 2: 1927-03-22 is not between 2010-01-01 and 2099-12-31"),
        (changed(description=""), "day 2, 2027-03-22: expected a description"),
        (changed(tradingDate=None), "day 2: expected a date such as 26-Jan-2027, got ''"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_holidays(tmp_path: Path, document: Any, message: str) -> None:
    """One line that names the option, the file and the day."""
    with pytest.raises(UsageError, match=r"^--from .*list: ") as refused:
        read(tmp_path, json.dumps(document))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected CSV with columns Date, Day and Description"),
        ("<html><body>Access Denied</body></html>", "expected CSV with columns"),
        ("Date,Description\n", "holds no holiday"),
        ("Date,Description\nRepublic Day,26-Jan-2027\n", "row 2: expected a date such as 26-Jan-2027"),
        ("{", "is not valid JSON"),
        ('{"CM": [], "CM": []}', "CM is set twice"),
    ],
)
def test_text_of_another_kind(tmp_path: Path, text: str, message: str) -> None:
    """Such as the page that NSE shows to programs."""
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (DAYS | {dt.date(2027, 4, 1): "Annual Bank Closing"}, "Annual Bank Closing (2027-04-01): banks rest then and"),
        ({dt.date(2028, 1, 26): "x", dt.date(2028, 4, 14): "x", dt.date(2028, 5, 1): "x", dt.date(2028, 8, 15): "x",
          dt.date(2028, 10, 2): "x"}, "Christmas (Mon 2028-12-25) is missing"),
    ],
    ids=["clearing", "cut off"],
)  # fmt: skip
def test_a_list_of_clearing_holidays_or_of_half_a_year(tmp_path: Path, days: dict[dt.date, str], message: str) -> None:
    """NSE's page has both lists, and a day on which only banks rest is a session; a list that was cut off says less."""
    with pytest.raises(UsageError) as refused:
        read(tmp_path, json.dumps(rows(days)))
    assert message in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    """Or a directory."""
    with pytest.raises(UsageError, match=r"--from .*none: No such file"):
        read_holiday_list(tmp_path / "none")
    with pytest.raises(UsageError, match="is a directory"):
        read_holiday_list(tmp_path)
