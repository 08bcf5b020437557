"""Where the jobs of a sweep and of a walk forward are done: in processes of this machine, or on a Ray cluster.

On a cluster every machine has hrmd of the same version and the tapes and bars at the same paths. Invariant: what comes
of a job depends on the job alone, whoever does it; replays come in the order of their jobs, other work as it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, Protocol

import msgspec

from daemon.core.errors import UsageError
from daemon.report.summary import ReplaySummary
from daemon.run.many import Job, Processes, cores, play_all, played, quieten

Work = Callable[[bytes], bytes]
"""A function of a module, from a job to what came of it."""
Done = Generator[tuple[int, bytes], None, None]
"""A job's place among all, and what came of it."""


class Fleet(Protocol):
    """Who does jobs."""

    def finished(self, work: Work, jobs: Iterable[bytes]) -> Done:
        """What came of each, as they are done; whoever closes it ends what isn't."""

    def close(self) -> None:
        """Let everybody go."""


class LocalFleet:
    """So many processes, kept until `close`; with one, this process."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = Processes(workers) if workers > 1 else None

    def play(self, jobs: Sequence[Job]) -> Iterator[ReplaySummary]:
        """All of them, in order."""
        return play_all(jobs, self._pool)

    def finished(self, work: Work, jobs: Iterable[bytes]) -> Done:
        """Each as it is done; a process is given its next job when it has done one, so that none waits in a queue.

        Whoever leaves in between ends the processes: SIGTERM, at which a training keeps its state. Raises `UsageError`
        where a process ended by itself.
        """
        if self._pool is None:
            yield from ((place, work(job)) for place, job in enumerate(jobs))
            return
        left = iter(enumerate(jobs))
        doing: dict[Future[bytes], int] = {}
        try:
            while True:
                while len(doing) < self._workers and (one := next(left, None)) is not None:
                    doing[self._pool.submit(work, one[1])] = one[0]
                if not doing:
                    return
                for done in wait(doing, return_when=FIRST_COMPLETED).done:
                    yield doing.pop(done), done.result()
        except BrokenExecutor:
            raise UsageError(
                "a process ended while it worked (was there memory for all of them?): give the command again with "
                "fewer --workers"
            ) from None
        finally:
            if doing:
                self._pool.terminate()

    def close(self) -> None:
        """Let the processes go, whatever they are at."""
        if self._pool is not None:
            self._pool.close()


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
        waiting = [self._remote.remote(played, msgspec.json.encode(job)) for job in jobs]
        for one in waiting:
            yield msgspec.json.decode(self._ray.get(one), type=ReplaySummary)

    def finished(self, work: Work, jobs: Iterable[bytes]) -> Done:
        """Each as it is done. Raises `UsageError` where a machine ended and nobody else could do its job."""
        left, waiting = iter(enumerate(jobs)), dict[Any, int]()
        most = 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        while True:
            while len(waiting) < most and (one := next(left, None)) is not None:
                waiting[self._remote.remote(work, one[1])] = one[0]
            if not waiting:
                return
            done = self._ray.wait(list(waiting), num_returns=1)[0][0]
            try:
                came = self._ray.get(done)
            except self._ray.exceptions.WorkerCrashedError as error:
                raise UsageError(f"--address: {str(error).splitlines()[0]}") from None
            yield waiting.pop(done), came

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def fleet_of(address: str | None, workers: int) -> LocalFleet | RayFleet:
    """The cluster where one is named, else so many processes here; 0: one a core."""
    return RayFleet(address) if address is not None else LocalFleet(workers or cores())


def _on_cluster(work: Work, job: bytes) -> bytes:
    quieten()
    return work(job)
