"""The vocabulary: what events promise of themselves."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from daemon.core import events
from daemon.core.events import BAND_COLUMNS, TICK_COLUMNS, Action, Event, Side, TickBatch, TimeAdvanced, joined_bands
from tests.unit.feed.ticks import make_batch


def test_every_event_is_frozen_and_untracked() -> None:
    """No event can change after publication, and none is looked at by the garbage collector."""
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
    assert len(kinds) > 20
    for kind in kinds:
        assert kind.__struct_config__.frozen, kind
        assert not kind.__struct_config__.gc, kind


def test_an_event_refuses_a_change() -> None:
    """Assigning to a field raises."""
    with pytest.raises(AttributeError):
        TimeAdvanced(ts=1).ts = 2  # type: ignore[misc]


def test_tick_columns_are_the_fields_of_a_batch() -> None:
    """`slice` and `take` forget no column."""
    assert ("symbols", *TICK_COLUMNS, *BAND_COLUMNS) == TickBatch.__struct_fields__


def test_bands_go_with_their_ticks() -> None:
    """Where there are any; what is joined keeps them, and null for ticks that had none."""
    plain = make_batch(ltp=[1.0, 2.0, 3.0])
    banded = msgspec.structs.replace(plain, lower_band=np.array([7.0, 8.0, 9.0]))
    assert (plain.slice(0, 1).lower_band, banded.slice(1, 3).upper_band) == (None, None)
    assert banded.slice(1, 3).lower_band.tolist() == [8.0, 9.0]  # type: ignore[union-attr]
    assert banded.take(np.array([True, False, True])).lower_band.tolist() == [7.0, 9.0]  # type: ignore[union-attr]
    joined = joined_bands([plain, banded])
    assert list(joined) == ["lower_band"]
    np.testing.assert_array_equal(joined["lower_band"], [np.nan] * 3 + [7.0, 8.0, 9.0])
    assert joined_bands([plain, plain]) == {}


def test_slice_is_a_view_and_take_is_not() -> None:
    """A slice shares memory with its batch; a selection has its own."""
    batch = make_batch(ltp=[1.0, 2.0, 3.0, 4.0])
    part, chosen = batch.slice(1, 3), batch.take(np.array([True, False, False, True]))
    assert part.ltp.tolist() == [2.0, 3.0]
    assert np.shares_memory(part.ltp, batch.ltp)
    assert chosen.ltp.tolist() == [1.0, 4.0]
    assert not np.shares_memory(chosen.ltp, batch.ltp)
    assert (len(batch), len(part), len(chosen)) == (4, 2, 2)


def test_signs_and_numbers() -> None:
    """BUY adds, SELL takes away; the actions have the requirements' numbers."""
    assert (Side.BUY.sign, Side.SELL.sign) == (1, -1)
    assert [action.name for action in sorted(Action)] == ["BUY_LONG", "SELL_SHORT", "CLOSE_LONG", "CLOSE_SHORT", "HOLD"]
