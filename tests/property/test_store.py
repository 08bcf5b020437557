"""Any sequence of installs, rollbacks, archivings and crashes: the current model is always whole, and the one meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.core.errors import ArtifactError
from daemon.strategy.store import Store
from models.agent import HRMAgent
from tests.unit.strategy.test_store import NETWORK, SMALL, Failing, Stopped

ACTS = st.one_of(
    st.tuples(st.just("install"), st.integers(0, 3)),
    st.tuples(st.just("archive"), st.integers(0, 3)),
    st.tuples(st.just("rollback"), st.just(0)),
)
STOPS = st.one_of(st.none(), st.tuples(st.integers(1, 8), st.sampled_from(["before", "midst", "after"])))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four of them."""
    folder = tmp_path_factory.mktemp("models")
    files = [folder / f"m{seed}.safetensors" for seed in range(4)]
    for seed, file in enumerate(files):
        HRMAgent.untrained(SMALL, seed).save_model(file)
    return files


class Believed:
    """What the store must say, without a disk."""

    def __init__(self) -> None:
        self.current: int | None = None
        self.previous: int | None = None
        self.archived: set[int] = set()
        self.known: set[int] = set()

    def after(self, act: str, number: int) -> Believed | None:
        """Once an act is done; None where it is refused."""
        then = Believed()
        then.current, then.previous = self.current, self.previous
        then.archived, then.known = set(self.archived), set(self.known)
        if act == "rollback":
            if self.previous is None:
                return None
            then.current, then.previous = self.previous, self.current
        elif act == "archive":
            if number not in self.known or number == self.current:
                return None
            then.archived.add(number)
            then.previous = None if number == self.previous else self.previous
        else:
            then.known.add(number)
            then.archived.discard(number)
            if number != self.current:
                then.current, then.previous = number, self.current
        return then

    def says(self, store: Store) -> bool:
        """Whether the store says the same."""
        index = store.index()
        names = {release.sha256: int(release.name[1:]) for release in index.releases}
        return (
            names.get(index.current or ""), names.get(index.previous or ""), set(names.values()),
            {int(release.name[1:]) for release in index.releases if release.archived},
        ) == (self.current, self.previous, self.known, self.archived)  # fmt: skip


def do(store: Store, act: str, number: int, models: list[Path]) -> None:
    """One act."""
    if act == "install":
        store.install(models[number], None, 7)
    elif act == "archive":
        store.archive(f"m{number}")
    else:
        store.roll_back()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.tuples(ACTS, STOPS), min_size=1, max_size=10))
def test_the_current_model_is_always_whole(
    history: list[tuple[tuple[str, int], tuple[int, str] | None]],
    models: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """After each act, done or stopped at any step, the store is as before or as after, and what is current loads."""
    directory, believed = tmp_path_factory.mktemp("store") / "s", Believed()
    plain = Store(directory, NETWORK)
    for (act, number), stop in history:
        then = believed.after(act, number)
        disk = Failing(*stop, Stopped()) if stop is not None else None
        try:
            do(Store(directory, NETWORK, disk), act, number, models)
            assert then is not None
        except ArtifactError:
            assert then is None
        except Stopped:
            pass
        believed = next(one for one in (then, believed) if one is not None and one.says(plain))
        if believed.current is not None:
            assert plain.checked(plain.find("current")).is_file()
