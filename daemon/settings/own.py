"""`strategy.name: folder.module:Class` → that class, its parameters as they were set, and the hash of its source.

A class of a user's own is looked for in `strategy.path`, else beside the settings file, then in the working directory;
a name without a colon is an entry point of the group `hrmd.strategies` of an installed package. What it imports from
its own folder belongs to its source. Invariant: whatever is wrong with it is one line that names the file, the line or
the key, and nothing of hrmd's own is ever taken for a user's module.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from daemon.core.errors import SettingsError
from daemon.core.own_code import OwnCodeFailed, attempt_own

GROUP: Final = "hrmd.strategies"
BUILT_IN: Final = ("hrm", "ppo", "rules")
SHIPPED: Final[Mapping[str, str]] = {"onnx": "strategies.onnx_policy:OnnxPolicy"}
"""Classes that come with hrmd and are made as a user's are, by name."""
_PLACE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_FOLDER: Final = "__hrmd_folder__"
"""On a module: the folder that it was loaded from for a strategy."""
_SOURCE: Final = "__hrmd_source__"
"""On a strategy's module: the hash of its source and of what it imported from its folder."""


class _Searched(str):
    """A folder of own classes among those in which Python looks for modules: the last, and the only one."""

    __slots__ = ()


class OwnClass(msgspec.Struct, frozen=True):
    """A strategy's class, where it lies, and the hash of its source."""

    name: str
    kind: type[Any]
    file: Path
    folder: Path
    source: str

    @property
    def parameters(self) -> type[BaseModel] | None:
        """The model of what may be set of it, None where nothing may."""
        return getattr(self.kind, "Parameters", None)


def is_own(name: str) -> bool:
    """Whether a strategy is none that comes with hrmd."""
    return name not in BUILT_IN


def known_name(name: str) -> str:
    """A name that may be a strategy's. Raises `ValueError` that says what would be."""
    if not is_own(name) or name in SHIPPED or _PLACE.fullmatch(name) or name in (installed := _installed()):
        return name
    packages = f", or of installed packages {', '.join(sorted(installed))}" if installed else ""
    raise ValueError(f"one of 'hrm', 'ppo', 'rules' or 'onnx', a class of your own as folder.module:Class{packages}")


def find_class(name: str, places: Sequence[Path]) -> OwnClass:
    """The class of that name. Raises `SettingsError` in one line that doesn't name the setting."""
    if name in SHIPPED:
        return _shipped(name)
    entry = None if ":" in name else _installed().get(name)
    if entry is None and ":" not in name:
        raise SettingsError(f"no installed package has it in its entry points {GROUP}")
    module_name, _, attribute = (name if entry is None else entry.value).partition(":")
    folder, file = _installed_at(entry, module_name) if entry is not None else _locate(module_name, places)
    module = _imported(module_name, folder, file)
    kind = getattr(module, attribute, None)
    if not inspect.isclass(kind):
        raise SettingsError(f"{file}: has no class {attribute}{_instead(module, attribute)}")
    _check(kind, file)
    return OwnClass(name, kind, file, folder, getattr(module, _SOURCE))


def _shipped(name: str) -> OwnClass:
    module_name, _, attribute = SHIPPED[name].partition(":")
    module = importlib.import_module(module_name)
    file = Path(str(module.__file__)).resolve()
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    return OwnClass(name, getattr(module, attribute), file, file.parents[1], source)


def common_folder(names: Sequence[str], places: Sequence[Path]) -> Path | None:
    """The first of the places that has the modules of all these strategies; None where none has, or none is needed."""
    modules = [name.partition(":")[0] for name in names if is_own(name) and ":" in name]
    if not modules:
        return None
    return next((place.resolve() for place in places if all(_file_in(place, module) for module in modules)), None)


def as_written(parameters: BaseModel) -> dict[str, Any]:
    """All values, in the form in which settings and journals hold them: equal parameters are written the same.

    Raises `ValueError` that names the key of a value that is none, and what would be right.
    """
    try:
        written = parameters.model_dump(mode="json")
    except ValueError as error:
        raise ValueError(f"{_unwritable(parameters)}: expected what a settings file can hold ({error})") from None
    values = parameters.model_dump()
    wrong = next(_not_finite(values, ""), None)
    if wrong is not None:
        raise ValueError(f"{wrong}: expected a finite number")
    ordered: dict[str, Any] = _ordered(written, values)
    return ordered


def _unwritable(parameters: BaseModel) -> str:
    """The first field that can't be written."""
    for name in type(parameters).model_fields:
        try:
            parameters.model_dump(mode="json", include={name})
        except ValueError:
            return name
    return "of the class"


def _ordered(written: Any, value: Any) -> Any:
    """What was written of a value, each set in one order: of its own it has another one in every process."""
    if isinstance(written, dict) and isinstance(value, Mapping) and len(written) == len(value):
        items = [_ordered(*pair) for pair in zip(written.values(), value.values(), strict=True)]
        return dict(zip(written, items, strict=True))
    if isinstance(written, list) and isinstance(value, list | tuple | Set) and len(written) == len(value):
        items = [_ordered(*pair) for pair in zip(written, value, strict=True)]
        return sorted(items, key=msgspec.json.encode) if isinstance(value, Set) else items
    return written


def _not_finite(value: Any, key: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        yield key
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _not_finite(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _not_finite(item, f"{key}.{number}".lstrip("."))


def _installed() -> dict[str, EntryPoint]:
    return {it.name: it for it in entry_points(group=GROUP) if is_own(it.name) and it.name not in SHIPPED}


def _installed_at(entry: EntryPoint, module_name: str) -> tuple[Path, Path]:
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise SettingsError(f"entry point {entry.name} of {GROUP}: its module {module_name} isn't installed")
    file = Path(spec.origin).resolve()
    depth = module_name.count(".") + (file.name == "__init__.py")
    return file.parents[depth], file


def _locate(module_name: str, places: Sequence[Path]) -> tuple[Path, Path]:
    for place in places:
        file = _file_in(place, module_name)
        if file is not None:
            return place.resolve(), file
    looked = " or ".join(dict.fromkeys(str(place.resolve()) for place in places))
    raise SettingsError(f"no {module_name.replace('.', '/')}.py in {looked} (strategy.path may name another folder)")


def _file_in(place: Path, module_name: str) -> Path | None:
    base = place.resolve().joinpath(*module_name.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def _imported(module_name: str, folder: Path, file: Path) -> ModuleType:
    """The module as its file is now; unchanged, it isn't run again."""
    known = sys.modules.get(module_name)
    if known is not None and vars(known).get(_SOURCE) == _sourced(folder):
        return known
    for name in [name for name, module in list(sys.modules.items()) if _FOLDER in vars(module)]:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if not isinstance(place, _Searched)]
    _check_free(module_name, folder)
    if known is not None and _lies_below(known, folder):  # somebody else has imported it: it may have changed since
        sys.modules.pop(module_name, None)
    before = set(sys.modules)
    if str(folder) not in sys.path:
        sys.path.append(_Searched(folder))
    importlib.invalidate_caches()
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        module = attempt_own(lambda: importlib.import_module(module_name), folder)
    except OwnCodeFailed as error:
        for name in _new(before, folder):
            del sys.modules[name]
        raise SettingsError(str(error) if ".py, line" in str(error) else f"{file}: {error}") from None
    finally:
        sys.dont_write_bytecode = writes
    for name in _new(before, folder):
        setattr(sys.modules[name], _FOLDER, str(folder))
    if Path(module.__file__ or "").resolve() != file:
        raise SettingsError(f"{file}: its name {module_name} is taken by {module.__file__}: expected another name")
    setattr(module, _SOURCE, _sourced(folder))
    return module


def _check_free(module_name: str, folder: Path) -> None:
    """Raises `SettingsError` where the name is one of Python's, of hrmd's or of a package."""
    top = module_name.partition(".")[0]
    taken = sys.modules.get(top)
    if taken is not None:
        if _FOLDER in vars(taken) or _lies_below(taken, folder):
            return
        raise SettingsError(f"the name {top} is taken by another module of Python or hrmd: expected another name")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return
    found = [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    if not any(_is_below(place, folder) for place in found if place):
        raise SettingsError(f"the name {top} is taken by another module of Python: expected another name")


def _new(before: set[str], folder: Path) -> list[str]:
    """Modules of the folder that are there since."""
    return [name for name, module in list(sys.modules.items()) if name not in before and _lies_below(module, folder)]


def _lies_below(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    return any(_is_below(place, folder) for place in places)


def _is_below(place: str, folder: Path) -> bool:
    path = Path(place).resolve()
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _sourced(folder: Path) -> str:
    """The hash of all that was loaded from the folder for a strategy, as the files are now."""
    digest = hashlib.sha256()
    loaded = [module for module in list(sys.modules.values()) if vars(module).get(_FOLDER) == str(folder)]
    files = {Path(module.__file__).resolve() for module in loaded if module.__file__ is not None}
    for file in sorted(files):
        try:
            content = file.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{file.relative_to(folder).as_posix()} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _instead(module: ModuleType, attribute: str) -> str:
    classes = [name for name, item in vars(module).items() if inspect.isclass(item) and hasattr(item, "decide")]
    close = difflib.get_close_matches(attribute, classes, n=1)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (it has {', '.join(classes)})" if classes else " (a strategy is a class with a method decide)"


def _check(kind: type[Any], file: Path) -> None:
    """Raises `SettingsError` for a class that can't be a strategy."""
    decide = getattr(kind, "decide", None)
    place = f"{file}: {kind.__name__}"
    if not callable(decide):
        raise SettingsError(f"{place}: has no method decide(self, seen)")
    if inspect.iscoroutinefunction(decide):
        raise SettingsError(f"{place}.decide: is async; expected def decide(self, seen)")
    try:
        inspect.signature(decide).bind(None, None)
    except (TypeError, ValueError):
        raise SettingsError(f"{place}.decide: expected def decide(self, seen), one argument beside self") from None
    parameters = getattr(kind, "Parameters", None)
    if parameters is not None and not (inspect.isclass(parameters) and issubclass(parameters, BaseModel)):
        raise SettingsError(
            f"{place}.Parameters: expected a pydantic model, class Parameters(strategies.own.Parameters)"
        )
