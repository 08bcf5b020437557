"""Building the kernel: once per source and compiler, and one line where it can't be done."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from models.errors import RuntimeUnavailable
from models.native import build as native

CPU = ("cpu", ("cpu.cpp",), (), native.COMMON)


@pytest.fixture
def compiler() -> list[str]:
    """The compiler, or skip where there is none."""
    try:
        return native.find_compiler()
    except RuntimeUnavailable as error:
        pytest.skip(str(error))


def test_a_library_is_built_once(tmp_path: Path, compiler: list[str]) -> None:
    """The second call finds the first one's file and writes nothing."""
    first = native.build(tmp_path / "cache", *CPU, compiler)
    written = first.stat().st_mtime_ns
    assert native.build(tmp_path / "cache", *CPU, compiler) == first
    assert first.stat().st_mtime_ns == written
    assert list(first.parent.iterdir()) == [first]


def test_a_build_is_said_before_it_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, compiler: list[str]
) -> None:
    """It takes its time at the first start; a library that is there is not spoken of."""
    caplog.set_level(logging.INFO)
    for _ in range(2):
        native.build(tmp_path, *CPU, compiler)
        assert caplog.messages == [
            f"building the native kernel (cpu) with {compiler[0]}: some seconds, once for this machine"
        ]


def test_other_flags_make_another_library(tmp_path: Path, compiler: list[str]) -> None:
    """Flags are part of what a library is called."""
    name, sources, headers, flags = CPU
    one = native.build(tmp_path, name, sources, headers, flags, compiler)
    assert native.build(tmp_path, name, sources, headers, (*flags, "-DOTHER"), compiler) != one


@pytest.mark.parametrize(("variant", "needs"), [("avx512", "AVX512-VNNI"), ("avx2", "AVX2 with FMA")])
def test_a_variant_runs_or_says_what_it_needs(
    variant: str, needs: str, built: Path, monkeypatch: pytest.MonkeyPatch, compiler: list[str]
) -> None:
    """Where the processor has it the kernel of that name was built; elsewhere one line names the instructions."""
    monkeypatch.setenv("CXX", "no-such-compiler")  # a variant that is refused is not built to find out
    said = loaded = ""
    try:
        loaded = Path(native.load_kernel("int8", built, variants=[variant])._name).name
    except RuntimeUnavailable as error:
        said = str(error)
    refused = f"native int8 needs {needs}, which this processor has not"
    assert (said, loaded.rsplit("-", 1)[0]) in (("", f"hrm-{variant}"), (refused, ""))


def test_a_library_that_was_built_needs_no_compiler(
    built: Path, monkeypatch: pytest.MonkeyPatch, compiler: list[str]
) -> None:
    """The kernel goes on to be used when the compiler is gone; one that was never built can't be had."""
    try:
        native.load_kernel("fp32", built)
    except RuntimeUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CXX", "no-such-compiler")
    native.load_kernel("fp32", built)
    with pytest.raises(RuntimeUnavailable, match="CXX=no-such-compiler is not there"):
        native.load_kernel("fp32", built / "empty")


def test_a_compiler_that_fails_is_one_line(tmp_path: Path, compiler: list[str]) -> None:
    """What the compiler says first is in the message, and nothing is left in the cache."""
    name, sources, headers, flags = CPU
    with pytest.raises(RuntimeUnavailable, match=r"could not build it: .*no-such-flag") as refusal:
        native.build(tmp_path, name, sources, headers, (*flags, "-fno-such-flag-error"), compiler)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`CXX` is taken at its word; without it the usual names are looked for."""
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(RuntimeUnavailable, match="CXX=no-such-compiler is not there"):
        native.find_compiler()
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeUnavailable, match=r"none of g\+\+, c\+\+, clang\+\+ is installed"):
        native.find_compiler()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, compiler: list[str]) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeUnavailable, match="could not be built in"):
        native.build(tmp_path / "file", *CPU, compiler)


def test_a_damaged_library_is_one_line(tmp_path: Path, compiler: list[str]) -> None:
    """A file that is no library is refused by name."""
    broken = native.build(tmp_path, *CPU, compiler)
    broken.write_bytes(b"not a library")
    with pytest.raises(RuntimeUnavailable, match="can't be loaded"):
        native.open_library(broken)


@pytest.mark.parametrize("left", [0, 63, 0.5, 1.0])
def test_what_a_power_cut_left_of_a_library_is_built_anew(tmp_path: Path, compiler: list[str], left: float) -> None:
    """Cut off it ended every start by SIGBUS, and zeros (here: all of it) kept the kernel away, both for ever."""
    path = native.build(tmp_path, *CPU, compiler)
    size = path.stat().st_size
    path.write_bytes(bytes(size) if left == 1.0 else path.read_bytes()[: int(left if left > 1 else left * size)])
    assert native.build(tmp_path, *CPU, compiler) == path
    assert path.stat().st_size == size
    native.open_library(path)


def test_it_is_for_linux_on_x86_only(tmp_path: Path) -> None:
    """Anything else is refused before a compiler is looked for."""
    with pytest.raises(RuntimeUnavailable, match="native needs Linux on x86-64, this is Darwin on arm64"):
        native.load_kernel("int8", tmp_path, system="Darwin", machine="arm64")
