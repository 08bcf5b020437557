"""A directory of models: which one is current, which was before it, and which are put aside.

    store.json                      the releases, which is current and which previous; replaced as a whole
    models/SHA256/NAME.safetensors  each release under its own hash; never changed, never deleted
    lock                            held while something changes

Invariant: `store.json` is replaced in one step and names only files that are whole and on disk by then, so whenever the
machine stops, the store is as it was before a change or as it is after; and no model is handed out whose content isn't
that of its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from daemon.core.errors import ArtifactError
from daemon.core.files import sync_directory

if TYPE_CHECKING:
    from models.config import HRMConfig
    from models.manifest import Manifest

CURRENT: Final = "current"
PREVIOUS: Final = "previous"
INDEX: Final = "store.json"
SHORT: Final = 12
"""Characters of a hash that name a version."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION: Final = re.compile(r"[0-9a-f]{6,64}")


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the store, in the words of its manifest; `installed_ts` is wall time, UTC ns."""

    sha256: str
    name: str
    installed_ts: int
    bytes: int
    trained: bool
    first_day: str | None = None
    """Of the data that it was trained on, ISO date; `last_day` as well."""
    last_day: str | None = None
    data_sha256: str | None = None
    git_revision: str | None = None
    hrmd_version: str | None = None
    metrics: dict[str, float] = {}
    archived: bool = False

    @property
    def version(self) -> str:
        """What people call it by."""
        return self.sha256[:SHORT]

    @property
    def words(self) -> str:
        """Name and version."""
        return f"{self.name} ({self.version})"


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """All that `store.json` says; releases oldest first, current and previous by their hash."""

    current: str | None = None
    previous: str | None = None
    releases: tuple[Release, ...] = ()
    form: int = 1

    def having(self, release: Release) -> Index:
        """With this release, in the place of what was known under its hash."""
        others = tuple(one for one in self.releases if one.sha256 != release.sha256)
        return msgspec.structs.replace(self, releases=(*others, release))

    def led_by(self, sha256: str) -> Index:
        """With another current release; the one before it is the previous one."""
        if sha256 == self.current:
            return self
        return msgspec.structs.replace(self, current=sha256, previous=self.current)


class Disk:
    """The steps of a change, each on disk when it returns; a test puts one in its place that fails between two."""

    def make(self, directory: Path) -> None:
        """A directory, and those above it."""
        if not directory.is_dir():
            self.make(directory.parent)
            directory.mkdir(exist_ok=True)
            self.sync(directory.parent)

    def write(self, path: Path, content: bytes) -> None:
        """A whole file."""
        with path.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def replace(self, partial: Path, path: Path) -> None:
        """Put `partial` in the place of `path`, in one step."""
        os.replace(partial, path)

    def sync(self, directory: Path) -> None:
        """What a directory lists."""
        sync_directory(directory)


class Store:
    """See the module. Every change is one `store.json`; every refusal is an `ArtifactError` of one line."""

    def __init__(self, directory: Path, network: HRMConfig, disk: Disk | None = None) -> None:
        """`network` is what the settings ask a model to be."""
        self.directory = directory
        self._network = network
        self._disk = disk if disk is not None else Disk()

    def index(self) -> Index:
        """What is in it; nothing where there is no store yet."""
        path = self.directory / INDEX
        try:
            index = msgspec.json.decode(path.read_bytes(), type=Index)
        except FileNotFoundError:
            return Index()
        except OSError as error:
            raise ArtifactError(f"model_management.store: {path}: can't be read ({error.strerror})") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"model_management.store: {path}: is damaged ({error}); move it away and install the models again"
            ) from None
        if index.form != 1:
            raise ArtifactError(f"model_management.store: {path}: form {index.form}, expected 1")
        return index

    def file(self, release: Release) -> Path:
        """Where it lies."""
        return self.directory / "models" / release.sha256 / f"{release.name}.safetensors"

    def find(self, version: str) -> Release:
        """The release that is meant: current, previous, a name, or the beginning of a hash. Raises `ArtifactError`."""
        index = self.index()
        if version in (CURRENT, PREVIOUS):
            wanted = index.current if version == CURRENT else index.previous
            found = [one for one in index.releases if one.sha256 == wanted]
            if not found:
                raise ArtifactError(f"{self.directory}: has no {version} model; hrmd model install FILE puts one there")
            return found[0]
        hashed = version if _VERSION.fullmatch(version) else None
        found = [one for one in index.releases if one.name == version or (hashed and one.sha256.startswith(hashed))]
        if len(found) == 1:
            return found[0]
        if found:
            raise ArtifactError(f"{version}: may be {' or '.join(one.words for one in found)}; give the version")
        known = ", ".join(one.words for one in index.releases) or "none"
        raise ArtifactError(f"{version}: no such version in {self.directory}; it has {known}")

    def checked(self, release: Release) -> Path:
        """The file of a release, read through. Raises `ArtifactError` where it is archived, or not what it was."""
        path = self.file(release)
        if release.archived:
            raise ArtifactError(f"{release.words}: is archived; hrmd model install {path} brings it back")
        if _read(path, self._network).sha256 != release.sha256:
            raise ArtifactError(f"{path}: is another model than its folder says; install {release.name} again")
        return path

    def install(self, file: Path, name: str | None, ts: int, *, lead: bool = True) -> Release:
        """Take a model in and make it current, or without `lead` a candidate beside it. Raises `ArtifactError`."""
        manifest = _read(file, self._network)
        chosen = _named(file.name.removesuffix(".safetensors") if name is None else name)
        with self._changing():
            index = self.index()
            known = next((one for one in index.releases if one.sha256 == manifest.sha256), None)
            if known is not None and name not in (None, known.name):
                raise ArtifactError(f"--name {name}: this model is installed as {known.words} already")
            release = _release(manifest, chosen, ts, file)
            if known is not None:
                release = msgspec.structs.replace(release, name=known.name, installed_ts=known.installed_ts)
            self._place(file, self.file(release), manifest)
            index = index.having(release)
            self._keep(index.led_by(release.sha256) if lead else index)
        return release

    def select(self, version: str) -> Release:
        """Make a release current. Raises `ArtifactError`."""
        self.find(version)  # what isn't there makes no store
        with self._changing():
            release = self.find(version)
            self.checked(release)
            index = self.index()
            if index.current != release.sha256:
                self._keep(index.led_by(release.sha256))
        return release

    def roll_back(self) -> Release:
        """Make the previous release current, and the current one the previous. Raises `ArtifactError`."""
        return self.select(PREVIOUS)

    def archive(self, version: str) -> Release:
        """Put a release aside: its file stays, for journals that name it. The current one is refused."""
        self.find(version)  # what isn't there makes no store
        with self._changing():
            index, release = self.index(), self.find(version)
            if release.sha256 == index.current:
                raise ArtifactError(f"{release.words}: is the current model; install or roll back to another one first")
            release = msgspec.structs.replace(release, archived=True)
            index = index.having(release)
            if index.previous == release.sha256:
                index = msgspec.structs.replace(index, previous=None)
            self._keep(index)
        return release

    def _place(self, file: Path, path: Path, manifest: Manifest) -> None:
        """Have the model at `path`, whole and on disk."""
        with contextlib.suppress(ArtifactError):
            if _read(path, self._network).sha256 == manifest.sha256:
                self._disk.sync(path.parent)
                self._disk.sync(path.parent.parent)
                return  # it was here before, or a change that ended half-way left it
        partial = path.with_name(path.name + ".partial")
        self._disk.make(path.parent)
        try:
            self._disk.write(partial, file.read_bytes())
            if _read(partial, self._network).sha256 != manifest.sha256:
                raise ArtifactError(f"{file}: changed while it was read")
            self._disk.replace(partial, path)
        except (OSError, ArtifactError):
            _forget(partial)
            raise
        self._disk.sync(path.parent)
        self._disk.sync(path.parent.parent)

    def _keep(self, index: Index) -> None:
        """Replace what the store says of itself, in one step."""
        path = self.directory / INDEX
        partial = path.with_name(path.name + ".partial")
        content = msgspec.json.format(msgspec.json.encode(index), indent=1)
        try:
            self._disk.write(partial, content)
            self._disk.replace(partial, path)
        except OSError:
            _forget(partial)
            raise
        self._disk.sync(path.parent)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone with the store. Raises `ArtifactError` where another process changes it, or the disk says no."""
        try:
            self._disk.make(self.directory)
            with _held(self.directory):
                yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ArtifactError(f"model_management.store: {self.directory}: can't be written ({why})") from None


@contextlib.contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Hold its lock; the operating system lets go of it when the process ends."""
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"model_management.store: {directory}: another process changes it at this moment; nothing was done, "
                "give the command again"
            ) from None
        yield
    finally:
        os.close(handle)


def _read(path: Path, network: HRMConfig) -> Manifest:
    """What a whole file says of itself, which fits the settings. Raises `ArtifactError`."""
    from models.artifact import read_weights
    from models.errors import CheckpointError

    try:
        return read_weights(path, expected=network)[1]
    except CheckpointError as error:
        raise ArtifactError(str(error)) from None


def _release(manifest: Manifest, name: str, ts: int, file: Path) -> Release:
    span, origin = manifest.training_span, manifest.origin
    return Release(
        sha256=manifest.sha256,
        name=name,
        installed_ts=ts,
        bytes=file.stat().st_size,
        trained=manifest.trained,
        first_day=span.first if span is not None else None,
        last_day=span.last if span is not None else None,
        data_sha256=origin.data_sha256 if origin is not None else None,
        git_revision=manifest.git_revision,
        hrmd_version=origin.version if origin is not None else None,
        metrics=dict(manifest.metrics),
    )


def _named(name: str) -> str:
    if name in (CURRENT, PREVIOUS) or not _NAME.fullmatch(name):
        raise ArtifactError(
            f"--name {name!r}: expected 1 to 64 of A-Z, a-z, 0-9, dot, dash, underscore, and not current or previous"
        )
    return name


def _forget(partial: Path) -> None:
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
