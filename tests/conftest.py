"""What every test may rely on."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from coverage import Coverage
from hypothesis import settings

from models.errors import RuntimeUnavailable
from models.native.build import VARIANTS, default_cache, load_kernel
from tests.depth import PROFILES, register_profiles

SLOW_FOLDERS = frozenset({"integration", "replay", "simulation"})
"""Whole daemons, whole tapes, whole sessions."""
SLOW_FIXTURES = frozenset({"compiler", "kernels", "training", "killed"})
"""Who asks for these builds, has the native kernel built, trains, or has a process started."""
TRACED = ("unit/", "conformance/")
"""Coverage is counted here, and of a test with parameters for the first: what is traced takes twice as long, and whole
days, properties and further parameters walk the same lines again and again."""
CHILDREN = pytest.StashKey[int | None]()


def pytest_configure() -> None:
    """Hypothesis looks as deep as `HYPOTHESIS_PROFILE` says, `ci` where it says nothing; tests are read after this."""
    register_profiles()
    wanted = os.environ.get("HYPOTHESIS_PROFILE") or "ci"
    if wanted not in PROFILES:
        raise pytest.UsageError(f"HYPOTHESIS_PROFILE={wanted}: expected one of {', '.join(PROFILES)}")
    settings.load_profile(wanted)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop what pytest-cov starts in a worker before it starts the worker's own: it would trace what is untraced."""
    if hasattr(session.config, "workerinput") and (early := Coverage.current()) is not None:
        early.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected stays to the end. To look through it for cycles was half of what collecting it cost."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto` is twice as many as there are cores: whole daemons mostly wait for their clocks."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:  # somebody knows better, and xdist reads it
        return None
    return len(os.sched_getaffinity(0)) * 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test is slow by what it does: where it lies, and which fixtures it asks for."""
    if hasattr(config, "workerinput"):
        _spread(items)
    here, seen = Path(__file__).parent, set()
    for item in items:
        place, name = item.path.relative_to(here), item.nodeid.partition("[")[0]
        if not SLOW_FOLDERS.isdisjoint(place.parts) or not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if name in seen or item.get_closest_marker("hypothesis") is not None or not str(place).startswith(TRACED):
            item.add_marker("no_cover")
        seen.add(name)


def _spread(items: list[pytest.Item]) -> None:
    """Put the files of whole daemons among the others, over two thirds of them: while one waits, others compute."""
    files = list(dict.fromkeys(item.path for item in items))
    waiting = [path for path in files if path.parent.name == "integration"]
    others = [path for path in files if path.parent.name != "integration"]
    step = max(1, 2 * len(others) // (3 * max(1, len(waiting))))
    place = {path: (number * step, 0) for number, path in enumerate(waiting)}
    place |= {path: (number, 1) for number, path in enumerate(others)}
    items.sort(key=lambda item: place[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look at the processes that have ended before anything is set up; what an earlier test left may end any time."""
    item.stash[CHILDREN] = None if _has_children() else _children()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that starts a process and isn't marked as slow fails, so that `make quick` stays what it says."""
    yield
    if item.stash[CHILDREN] not in (None, _children()) and item.get_closest_marker("slow") is None:
        pytest.fail("it started a process: mark it with @pytest.mark.slow, for `make quick` to leave it out")


def _has_children() -> bool:
    """Whether this process has children, such as the tracker of a pool's resources."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> int:
    """Page faults of all processes that ended as children of this one: it grows with each of them."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that a test runs in this process sets up logging on a stream that is closed when the test ends.

    Where none does, an exception is told as plainly as the daemon tells it: the library's way takes most of a second.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], console])
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _no_daemons_but_ours(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where daemons write down that they run: an empty place of this test's own."""
    home = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    for place in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(place, raising=False)
    return home


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's own cache with every kernel that this processor runs: built once, whichever worker comes first.

    A library in it is named by its sources, so that it is never built again while they are the same.
    """
    with (tmp_path_factory.getbasetemp().parent / "kernels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for variant in VARIANTS:
            with suppress(RuntimeUnavailable):
                load_kernel("fp32", default_cache(), variants=[variant])
    return default_cache()


@pytest.fixture
def built(kernels: Path, tmp_path: Path) -> Path:
    """A cache of the test's own with the kernels in it; empty where this machine can't have any."""
    own = tmp_path / "built"
    own.mkdir()
    for library in kernels.glob("*.so"):
        shutil.copy2(library, own)
    return own
