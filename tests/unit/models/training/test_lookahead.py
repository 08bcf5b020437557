"""Decisions made again without what came after them: the same, and where something was taken from there it is named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models.act import AdaptiveComputationTime
from models.config import History, HRMSettings
from models.hrm import HRM
from models.training.batches import BatchSettings
from models.training.lookahead import Prepared, look_ahead
from models.training.sessions import Sessions, join
from models.vocabulary import Vocabularies

HOUR_NS = 3_600_000_000_000


def looked(hrm: HRMSettings, sessions: Sessions, prepared: Prepared | None = None, *, in_time: bool = True) -> str:
    """What differs, "" where nothing does."""
    model, act = HRM(hrm.network(), Vocabularies()).eval(), AdaptiveComputationTime(hrm)
    settings, cost = BatchSettings(hrm.features), np.full(len(sessions), 3.0)
    found = look_ahead(model, act, sessions, settings, cost, prepared or (lambda part: part), in_time=in_time)
    assert found.cuts == 5
    assert found.decisions > 0
    return "" if found.difference is None else found.difference.what


@pytest.mark.parametrize("history", list(History))
@pytest.mark.parametrize("in_time", [True, False])
def test_nothing_is_seen_of_what_comes_later(
    hrm: HRMSettings, sessions: Sessions, history: History, in_time: bool
) -> None:
    """Of one symbol, of two at once, with windows of a session or over several, with earlier sessions told."""
    features = hrm.features.model_copy(update={"history": history, "past_sessions": 5})
    told = hrm.model_copy(update={"features": features})
    other = replace(sessions, symbols=("OTHER",))
    assert looked(told, sessions, in_time=in_time) == ""
    assert looked(told, join([sessions, other]), in_time=in_time) == ""


def test_an_end_that_only_the_last_bar_tells_is_found(hrm: HRMSettings, sessions: Sessions) -> None:
    """Sessions of an evening, of which nobody said when they end; where somebody said it nothing is seen."""
    evening = replace(sessions, ts_ns=sessions.ts_ns + 9 * HOUR_NS, hours_ns=None)
    assert looked(hrm, evening) == "what it read (calendar)"
    assert looked(hrm, replace(evening, hours_ns=sessions.hours + 9 * HOUR_NS)) == ""


def test_a_figure_over_all_bars_is_found(hrm: HRMSettings, sessions: Sessions) -> None:
    """Complexity that was measured against the whole set, and one that wasn't."""

    def against(part: Sessions, *, all_of_it: bool) -> Sessions:
        wide = np.ptp(part.bars[:, 1:3], axis=1)
        scale = wide.max() if all_of_it else 2.0 * np.maximum.accumulate(wide)
        return replace(part, complexity=np.minimum(wide / scale, 1.0))

    assert looked(hrm, sessions, partial(against, all_of_it=True)) == "what it read (calendar)"  # its token says it
    assert looked(hrm, sessions, partial(against, all_of_it=False)) == ""
