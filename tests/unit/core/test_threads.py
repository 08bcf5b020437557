"""Work beside the loop: jobs one after the other, turns until one is the last."""

from __future__ import annotations

import threading

from daemon.core.threads import ThreadHand, ThreadWorker


def test_a_worker_does_its_jobs_in_order_and_ends_after_them() -> None:
    """The second waits for the first, and both are done when the end was waited for."""
    done: list[int] = []
    gate = threading.Event()
    worker = ThreadWorker("test")
    worker.give(lambda: done.append(1 if gate.wait(10) else 0))
    worker.give(lambda: done.append(2))
    assert done == []
    gate.set()
    worker.end(wait=True)
    assert done == [1, 2]


def test_a_hand_that_is_woken_rests_no_longer() -> None:
    """A rest of an hour ends at the bell, one that rang during the turn included; after the last turn there is none."""
    turns: list[str] = []
    begun, hand = threading.Event(), ThreadHand("test")

    def turn() -> float | None:
        turns.append("turn")
        if len(turns) == 1:
            hand.wake()  # while the turn is still at it
        if len(turns) == 2:
            begun.set()
        return 3600.0 if len(turns) < 3 else None

    hand.begin(turn)
    assert begun.wait(10)
    hand.wake()
    hand.join()
    assert len(turns) == 3
