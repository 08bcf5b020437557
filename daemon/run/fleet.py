"""Where the replays of a sweep are played: in processes of this machine, or on a Ray cluster.

On a cluster every machine has hrmd of the same version and the tapes at the same paths. Invariant: results come in the
order of the jobs, whoever played them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec

from daemon.core.errors import UsageError
from daemon.report.summary import ReplaySummary
from daemon.run.many import Job, play, played, processes, quieten


class LocalFleet:
    """So many processes, kept until `close`; with one, this process."""

    def __init__(self, workers: int) -> None:
        self._pool: ProcessPoolExecutor | None = processes(workers) if workers > 1 else None

    def play(self, jobs: Sequence[Job]) -> Iterator[ReplaySummary]:
        """All of them, in order."""
        if self._pool is None:
            yield from map(play, jobs)
            return
        for told in self._pool.map(played, [msgspec.json.encode(job) for job in jobs]):
            yield msgspec.json.decode(told, type=ReplaySummary)

    def close(self) -> None:
        """Let the processes go."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class RayFleet:
    """The cluster at `address` ("auto": the one that this machine belongs to)."""

    def __init__(self, address: str) -> None:
        """Raises `UsageError` where Ray isn't installed or nobody answers."""
        try:
            import ray
        except ImportError:
            raise UsageError("--address needs Ray: pip install 'hrmd[cluster]'") from None
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"--address {address}: no Ray cluster there ({str(error).splitlines()[0]})") from None
        self._ray: Any = ray
        self._remote = ray.remote(max_retries=3)(_on_cluster)

    @property
    def words(self) -> str:
        """How large it is."""
        found = self._ray.cluster_resources()
        return f"{len(self._ray.nodes())} nodes, {found.get('CPU', 0):g} cores"

    def play(self, jobs: Sequence[Job]) -> Iterator[ReplaySummary]:
        """All of them, in order."""
        waiting = [self._remote.remote(msgspec.json.encode(job)) for job in jobs]
        for one in waiting:
            yield msgspec.json.decode(self._ray.get(one), type=ReplaySummary)

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def _on_cluster(job: bytes) -> bytes:
    quieten()
    return played(job)
