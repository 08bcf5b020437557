"""A replay → whether any of its decisions saw what came after it.

The tapes are cut off after several decisions, and each beginning is replayed by itself, in a process of its own, so
that nothing is remembered of what came later. Where a strategy is given a tape by a parameter it is given the
beginning. Invariant: the tapes stay untouched; a beginning holds exactly the ticks that had been received when its
last decision was made.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from daemon.core.events import Decision, Event
from daemon.run.many import Job, Processes
from daemon.settings.tree import Settings
from daemon.tape.format import TapeReader

SHARES = (0.25, 0.5, 0.9)
"""Of the decisions, after which the tapes are cut off."""
STAMPED = ("latency_ns",)
"""What the machine's clock gives a decision."""
CHUNK_ROWS = 65_536


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first decision that came out otherwise; `deterministic`: it comes out the same when all is replayed again."""

    symbol: str
    ts_bar: int
    field: str
    whole: str
    cut: str
    deterministic: bool = True


class LookAhead(msgspec.Struct, frozen=True, kw_only=True):
    """So many cuts, the decisions before them that were made again, and the first that differs, if any."""

    strategy: str
    cuts: int
    decisions: int
    difference: Difference | None = None


Decide = Callable[[Job], list[Decision]]
"""All decisions of a replay."""


def look_ahead(
    settings: Settings, tapes: Sequence[Path], symbols: Sequence[str], latency: str, decide: Decide
) -> LookAhead:
    """Replay the tapes, then their beginnings, each by `decide`. Raises what a replay raises."""
    whole = decide(_job(settings, tapes, symbols, latency))
    name, compared = settings.strategy.name, 0
    last = sorted({max(1, round(share * len(whole))) - 1 for share in SHARES} if whole else ())
    for place in last:
        at = whole[place].ts
        expected = [one for one in whole if one.ts_bar <= whole[place].ts_bar and one.ts <= at]
        with tempfile.TemporaryDirectory(prefix="hrmd-lookahead-") as folder:
            beginnings = beginnings_of(tapes, at, Path(folder))
            known = [symbol for symbol in symbols if symbol in set(_symbols(list(beginnings.values())))]
            found = decide(_job(_given(settings, beginnings), list(beginnings.values()), known, latency))
        compared += len(expected)
        if (difference := _first_difference(expected, found)) is not None:
            again = decide(_job(settings, tapes, symbols, latency))
            same = _first_difference(whole, again) is None
            difference = msgspec.structs.replace(difference, deterministic=same)
            return LookAhead(strategy=name, cuts=len(last), decisions=compared, difference=difference)
    return LookAhead(strategy=name, cuts=len(last), decisions=compared)


def apart(job: Job) -> list[Decision]:
    """In a process of its own."""
    with closing(Processes(1)) as pool:
        told = pool.submit(_decided, msgspec.json.encode(job)).result()
    return msgspec.json.decode(told, type=list[Decision])


def decisions_of(job: Job) -> list[Decision]:
    """In this process."""
    from daemon.run.latency import parse_latency
    from daemon.run.replaying import Replay, ReplayOutputs

    made: list[Decision] = []

    def take(event: Event) -> None:
        assert isinstance(event, Decision)
        made.append(event)

    async def run() -> None:
        settings = Settings(**msgspec.json.decode(job.settings))
        tapes = [Path(tape) for tape in job.tapes]
        replay = Replay(settings, tapes, job.symbols, parse_latency(job.latency), ReplayOutputs())
        replay.app.bus.tap((Decision,), take)
        await replay.run()

    asyncio.run(run())
    return made


def beginnings_of(tapes: Sequence[Path], until_ts: int, folder: Path) -> dict[Path, Path]:
    """Of each tape what was received until then (UTC ns), written into `folder`; without tapes that began later."""
    found = {}
    for number, tape in enumerate(tapes):
        if rows := _received(tape, until_ts):
            found[tape] = folder / f"{number}-{tape.name}"
            _copy(tape, found[tape], rows)
    return found


def _received(tape: Path, until_ts: int) -> int:
    """Rows up to that time: they lie in order of receipt."""
    count = 0
    for batch in TapeReader([tape]).batches(CHUNK_ROWS):
        early = int((batch.ts_recv <= until_ts).sum())
        count += early
        if early < len(batch.ts_recv):
            break
    return count


def _copy(path: Path, part: Path, rows: int) -> None:
    """The first rows as they are, notes and columns too."""
    with pq.ParquetFile(path) as source, pq.ParquetWriter(part, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches(CHUNK_ROWS):
            writer.write_batch(batch.slice(0, rows))
            rows -= len(batch)
            if rows <= 0:
                break


def _symbols(tapes: Sequence[Path]) -> Iterator[str]:
    for tape in tapes:
        yield from TapeReader([tape]).symbols


def _given(settings: Settings, beginnings: dict[Path, Path]) -> Settings:
    """With the beginning wherever a parameter of a user's class names a tape."""
    names = {os.path.realpath(tape): str(beginning) for tape, beginning in beginnings.items()}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [renamed(one) for one in value]
        return names.get(os.path.realpath(value), value) if isinstance(value, str | Path) else value

    changed = {"parameters": renamed(settings.strategy.parameters)}
    return settings.model_copy(update={"strategy": settings.strategy.model_copy(update=changed)})


def _job(settings: Settings, tapes: Sequence[Path], symbols: Sequence[str], latency: str) -> Job:
    return Job(
        settings=settings.model_dump_json(), tapes=[str(tape) for tape in tapes], symbols=list(symbols), latency=latency
    )


def _first_difference(expected: Sequence[Decision], found: Sequence[Decision]) -> Difference | None:
    by_bar = {(one.symbol, one.interval, one.ts_bar): one for one in found}
    for one in expected:
        other = by_bar.get((one.symbol, one.interval, one.ts_bar))
        if other is None:
            return Difference(symbol=one.symbol, ts_bar=one.ts_bar, field="decision", whole=one.action.name, cut="none")
        for field in one.__struct_fields__:
            was, now = repr(getattr(one, field)), repr(getattr(other, field))
            if field not in STAMPED and was != now:
                return Difference(symbol=one.symbol, ts_bar=one.ts_bar, field=field, whole=was, cut=now)
    return None


def _decided(job: bytes) -> bytes:
    return msgspec.json.encode(decisions_of(msgspec.json.decode(job, type=Job)))
