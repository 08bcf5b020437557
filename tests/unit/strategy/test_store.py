"""The store of models: what is current, what was before, what is refused, and what a crash leaves."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.core.errors import ArtifactError
from daemon.strategy.store import Disk, Index, Store
from models.agent import HRMAgent
from models.config import HRMConfig, HRMSettings

SMALL = HRMSettings.model_validate(
    {
        "profile": "small",
        "architecture": {
            "small": {
                "h_dim": 8, "h_layers": 1, "h_heads": 2, "l_dim": 8, "l_layers": 1, "l_heads": 2, "inner_multiple": 8,
                "h_cycles": 1, "l_steps": 1,
            }
        },
        "features": {"window": 10, "patch": 5, "min_bars": 2, "coarse_window": 2},
    }
)  # fmt: skip
NETWORK: HRMConfig = SMALL.network()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one shape."""
    folder = tmp_path_factory.mktemp("models")
    files = [folder / f"{name}.safetensors" for name in ("one", "two", "three")]
    for seed, file in enumerate(files):
        HRMAgent.untrained(SMALL, seed).save_model(file, metrics={"score": seed / 4}, git_revision="abc")
    return files


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty one."""
    return Store(tmp_path / "var" / "models", NETWORK)


def standing(store: Store) -> tuple[str | None, str | None, list[str]]:
    """(current, previous, archived) by name."""
    index = store.index()
    names = {release.sha256: release.name for release in index.releases}
    archived = [release.name for release in index.releases if release.archived]
    return names.get(index.current or ""), names.get(index.previous or ""), archived


def test_install_roll_back_archive(store: Store, models: list[Path]) -> None:
    """The newest is current, the one before it previous; a rollback swaps them; what is archived is neither."""
    assert store.index() == Index()
    first = store.install(models[0], None, 7)
    assert (first.name, first.installed_ts, first.metrics, first.git_revision) == ("one", 7, {"score": 0.0}, "abc")
    store.install(models[1], "second", 8)
    assert standing(store) == ("second", "one", [])
    assert store.roll_back() == first
    assert standing(store) == ("one", "second", [])
    store.archive("second")
    assert standing(store) == ("one", None, ["second"])
    assert store.checked(store.find("current")) == store.file(first)
    assert store.find(first.sha256[:8]) == first


@pytest.mark.parametrize("change", [Store.roll_back, lambda store: store.archive("x"), lambda store: store.select("x")])
def test_where_nothing_is_nothing_is_made(store: Store, change: Callable[[Store], object]) -> None:
    """Refused, and no directory is left behind."""
    with pytest.raises(ArtifactError, match=r"has no previous model|no such version"):
        change(store)
    assert not store.directory.parent.exists()


def test_what_is_installed_lies_under_its_hash(store: Store, models: list[Path]) -> None:
    """Byte for byte, with nothing partial beside it, and it needs its source no more."""
    release = store.install(models[0], None, 7)
    file = store.file(release)
    assert file.parent.name == release.sha256
    assert file.read_bytes() == models[0].read_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["one.safetensors"]


def test_a_model_that_is_known_keeps_its_name(store: Store, models: list[Path]) -> None:
    """It is current again, out of the archive too; another name for it is refused."""
    first = store.install(models[0], "first", 7)
    store.install(models[1], None, 8)
    store.archive("first")
    assert store.install(models[0], None, 9) == first
    assert standing(store) == ("first", "two", [])
    with pytest.raises(ArtifactError, match=r"--name other: this model is installed as first"):
        store.install(models[0], "other", 9)


def test_a_damaged_release_is_refused_and_mended(store: Store, models: list[Path]) -> None:
    """At loading and at rolling back, in one line; installing it again makes it whole."""
    release = store.install(models[0], None, 7)
    store.install(models[1], None, 8)
    file = store.file(release)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for refused in (lambda: store.checked(release), store.roll_back):
        with pytest.raises(ArtifactError, match="sha256 is"):
            refused()
    assert standing(store) == ("two", "one", [])
    store.install(models[0], None, 9)
    assert store.checked(release) == file


def test_a_file_in_the_place_of_another_is_refused(store: Store, models: list[Path]) -> None:
    """A whole model, only not the one."""
    release = store.install(models[0], None, 7)
    store.file(release).write_bytes(models[1].read_bytes())
    with pytest.raises(ArtifactError, match="is another model than its folder says"):
        store.checked(release)


REFUSALS: dict[str, tuple[Callable[[Store, Path], object], str]] = {
    "nothing to roll back to": (lambda store, _: store.roll_back(), "has no previous model"),
    "unknown": (lambda store, _: store.archive("nope"), r"nope: no such version in .*; it has one \("),
    "the current one": (lambda store, _: store.archive("current"), "is the current model"),
    "no file": (lambda store, place: store.install(place / "no.safetensors", None, 1), "no such file"),
    "no model": (lambda store, place: store.install(text(place / "x.safetensors"), None, 1), "not a readable"),
    "a name that means something": (lambda store, _: store.install(store.file(store.find("one")), "current", 1),
                                    "--name 'current': expected"),
    "a name with a slash": (lambda store, _: store.install(store.file(store.find("one")), "a/b", 1), "--name 'a/b'"),
}  # fmt: skip


def text(path: Path) -> Path:
    """A file that is no model."""
    path.write_text("no model")
    return path


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str, store: Store, models: list[Path], tmp_path: Path) -> None:
    """One line, and nothing has changed."""
    store.install(models[0], None, 7)
    before = store.index()
    act, words = REFUSALS[case]
    with pytest.raises(ArtifactError, match=words) as refused:
        act(store, tmp_path)
    assert "\n" not in str(refused.value)
    assert store.index() == before


def test_a_model_of_other_features_is_refused(store: Store, tmp_path: Path) -> None:
    """The settings want a window of ten bars."""
    features = SMALL.features.model_copy(update={"window": 20})
    HRMAgent.untrained(SMALL.model_copy(update={"features": features}), 1).save_model(tmp_path / "w.safetensors")
    with pytest.raises(ArtifactError, match=r"configuration differs from settings: features\.window: 20 != 10"):
        store.install(tmp_path / "w.safetensors", None, 7)
    assert store.index() == Index()


def test_two_of_one_name_are_told_apart_by_version(store: Store, models: list[Path]) -> None:
    """`hrmd train` calls them all model."""
    releases = [store.install(file, "model", 7) for file in models[:2]]
    with pytest.raises(ArtifactError, match=rf"model: may be model \({releases[0].version}\) or model"):
        store.find("model")
    assert store.find(releases[0].version) == releases[0]


def test_an_archived_one_is_not_loaded(store: Store, models: list[Path]) -> None:
    """It says how it comes back."""
    release = store.install(models[0], None, 7)
    store.install(models[1], None, 8)
    store.archive("one")
    with pytest.raises(ArtifactError, match=r"is archived; hrmd model install .*one.safetensors brings it back"):
        store.select("one")
    assert store.install(store.file(release), None, 9) == release


def test_who_comes_second_is_told(store: Store, models: list[Path]) -> None:
    """While another process changes the store nothing is done."""
    store.install(models[0], None, 7)
    with (store.directory / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="another process changes it at this moment"):
            store.install(models[1], None, 8)
    store.install(models[1], None, 8)
    assert standing(store) == ("two", "one", [])


def _install(directory: Path, file: Path) -> None:
    try:
        Store(directory, NETWORK).install(file, None, 7)
    except ArtifactError as error:
        if "another process" not in str(error):
            raise


@pytest.mark.slow
@pytest.mark.nightly
def test_installs_at_once_leave_a_whole_store(store: Store, models: list[Path]) -> None:
    """Of three processes each is done or was told to come again; what the store names can be loaded."""
    context = multiprocessing.get_context("spawn")
    crowd = [context.Process(target=_install, args=(store.directory, file)) for file in models]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert [one.exitcode for one in crowd] == [0, 0, 0]
    assert store.checked(store.find("current")).is_file()
    for release in store.index().releases:
        store.checked(release)


@pytest.mark.parametrize("place", ["a file", "a folder of a file"])
def test_no_place_for_a_store(place: str, tmp_path: Path, models: list[Path]) -> None:
    """Not writable is one line that names the setting."""
    (tmp_path / "f").write_text("")
    directory = tmp_path / "f" if place == "a file" else tmp_path / "f" / "models"
    with pytest.raises(ArtifactError, match=r"^model_management\.store: .*(can't be written|can't be read)"):
        Store(directory, NETWORK).install(models[0], None, 7)


@pytest.mark.slow
def test_a_store_without_space(store: Store, models: list[Path]) -> None:
    """The disk takes no more: one line, exit 2, the store as it was and nothing partial in it."""
    store.install(models[0], None, 7)
    program = (
        "import resource, sys; from pathlib import Path; from daemon.core.errors import ArtifactError\n"
        "from daemon.strategy.store import Store; from tests.unit.strategy.test_store import NETWORK\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: Store(Path(sys.argv[1]), NETWORK).install(Path(sys.argv[2]), None, 8)\n"
        "except ArtifactError as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(store.directory), str(models[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == f"model_management.store: {store.directory}: can't be written (File too large)\n"
    assert standing(store) == ("one", None, [])
    assert not list(store.directory.rglob("*.partial"))


class Stopped(BaseException):
    """The machine is gone."""


class Failing(Disk):
    """Stops at step `at`: before it, in the midst of it, or after it; steps are counted."""

    def __init__(self, at: int, when: str, error: BaseException) -> None:
        self.steps, self.at, self.when, self.error = 0, at, when, error

    def _step(self, do: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        self.steps += 1
        if self.steps != self.at:
            return do()
        if self.when == "midst" and half is not None:
            half()
        elif self.when == "after":
            do()
        raise self.error

    def make(self, directory: Path) -> None:
        """One step, whatever lies above."""
        self._step(lambda: Disk().make(directory))

    def write(self, path: Path, content: bytes) -> None:
        """Half of it in the midst."""
        self._step(lambda: Disk().write(path, content), lambda: Disk().write(path, content[: len(content) // 2]))

    def replace(self, partial: Path, path: Path) -> None:
        """In one step."""
        self._step(lambda: os.replace(partial, path))

    def sync(self, directory: Path) -> None:
        """Nothing a test can see."""
        self._step(lambda: None)


CHANGES: dict[str, Callable[[Store, list[Path]], object]] = {
    "install": lambda store, models: store.install(models[2], None, 9),
    "install again": lambda store, models: store.install(models[0], None, 9),
    "rollback": lambda store, _: store.roll_back(),
    "archive": lambda store, _: store.archive("previous"),
}


@pytest.mark.parametrize("error", [Stopped(), OSError(28, "No space left on device")], ids=["crash", "full"])
@pytest.mark.parametrize("when", ["before", "midst", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_stop_at_any_step_is_before_or_after(
    change: str, when: str, error: BaseException, tmp_path: Path, models: list[Path]
) -> None:
    """Each step of each change in turn; the same change then goes through, and what it names is whole."""
    steps = []
    at = 0
    while not steps or at <= steps[0]:
        directory = tmp_path / f"{at}"
        plain = Store(directory, NETWORK)
        plain.install(models[0], None, 7)
        plain.install(models[1], None, 8)
        before = plain.index()
        disk = Failing(at, when, error)
        store = Store(directory, NETWORK, disk)
        if at == 0:
            CHANGES[change](store, models)
            steps.append(disk.steps)
            after = plain.index()
        else:
            with pytest.raises((Stopped, ArtifactError)):
                CHANGES[change](store, models)
            assert plain.index() in (before, after)
            if plain.index() == before:
                CHANGES[change](plain, models)
            assert plain.index() == after
        for release in plain.index().releases:
            if not release.archived:
                assert plain.checked(release).is_file()
        at += 1
    assert steps[0] >= 3
