"""Dockerfile and compose.yaml, as far as they can be looked at without building: files, commands, ports, users."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.settings.loading import load_settings
from daemon.settings.run import ControlSettings
from tests.command_lines import unknown

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text(encoding="utf-8"))
PORT = ControlSettings().port


def steps(name: str) -> list[str]:
    """The arguments of each such instruction."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.M)


def mounts(service: str) -> list[tuple[str, str]]:
    """(from, to) of a service's volumes."""
    return [tuple(volume.split(":")[:2]) for volume in SERVICES[service].get("volumes", [])]  # type: ignore[misc]


def test_what_is_copied_is_there_and_sent_along() -> None:
    """Every source exists, and `.dockerignore`, which shuts everything out, lets it in."""
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M)
    sources = [word for step in steps("COPY") if not step.startswith("--from") for word in step.split()[:-1]]
    assert len(sources) >= 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source
    packages = {"config", "daemon", "models", "strategies"}  # pyproject's packages.find
    assert packages <= set(sources)


def test_the_image_runs_as_nobody_in_particular() -> None:
    """A user of its own, the last word on who runs; Prometheus reads the token as the same."""
    (uid,) = re.findall(r"useradd .*--uid (\d+)", DOCKERFILE)
    assert steps("USER") == ["hrmd"]
    assert int(uid) > 0
    assert SERVICES["prometheus"]["user"] == f"{uid}:{uid}"
    assert f"uid={uid}" in SERVICES["prometheus"]["tmpfs"][0]


def test_the_command_of_the_image_is_hrmds() -> None:
    """As its entry point and arguments have it."""
    (entry,), (command,) = map(json.loads, steps("ENTRYPOINT")), map(json.loads, steps("CMD"))
    assert entry == ["hrmd"]
    assert unknown(shlex.join(command)) == ""
    assert unknown(shlex.join(SERVICES["hrmd"]["command"])) == ""


def test_the_health_check_asks_the_port_that_hrmd_listens_on() -> None:
    """In Python that can be read; and Prometheus asks there, too, by a token that the first service makes."""
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*\])", DOCKERFILE)
    program, option, code = json.loads(check)
    assert (program, option) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    assert f"http://127.0.0.1:{PORT}/healthz" in code
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{PORT}"]
    token = Path(job["authorization"]["credentials_file"])
    assert f"> {token.name}" in SERVICES["tape"]["command"][0]
    assert ("state", str(token.parent)) in mounts("prometheus")


@pytest.mark.slow
def test_the_first_service_makes_what_the_others_need() -> None:
    """A shell reads it, and each command in it is one of hrmd's."""
    (script,) = SERVICES["tape"]["command"]
    assert SERVICES["tape"]["entrypoint"][0] == "/bin/sh"
    assert subprocess.run(["sh", "-n", "-c", script], capture_output=True, check=False).returncode == 0
    lines = [line for line in re.findall(r"hrmd ([a-z].*)", script) if not line.startswith("-")]
    assert len(lines) == 2
    for line in lines:
        assert unknown(line.split(" > ")[0].rstrip(")")) == ""
    settings = load_settings(ROOT / "docker/settings.yaml")
    assert (settings.broker.name, settings.feed.source) == ("paper", "tape")
    assert f"--out {settings.feed.tape[0]}" in script


def test_every_file_that_is_mounted_is_there() -> None:
    """And every volume is declared."""
    for service in SERVICES:
        for source, _ in mounts(service):
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source


def test_grafana_finds_its_data_and_its_dashboards() -> None:
    """Provisioned: where Prometheus listens, and the folder that the documents are mounted on."""
    provisioning = ROOT / "docker/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["type"] == "prometheus"
    port = source["url"].rpartition(":")[2]
    assert any(word.endswith(f":{port}") for word in SERVICES["prometheus"]["command"] if "listen" in word)
    (provider,) = yaml.safe_load((provisioning / "dashboards/hrmd.yaml").read_text("utf-8"))["providers"]
    assert ("./docs", provider["options"]["path"]) in mounts("grafana")


def test_nothing_is_published_beyond_this_machine() -> None:
    """Ports are loopback's, control's is none of them; every image has a version."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    for port in published:
        assert port.startswith("127.0.0.1:")
        assert str(PORT) not in port
    for name, service in SERVICES.items():
        assert service["image"] == "hrmd" or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_the_dashboard_and_the_rules_are_mounted() -> None:
    """The documents' folder holds them, under the names that Grafana and Prometheus look for."""
    assert json.loads((ROOT / "docs/grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
    (pattern,) = PROMETHEUS["rule_files"]
    folder, _, names = pattern.rpartition("/")
    assert ("./docs", folder) in mounts("prometheus")
    found = [path for path in (ROOT / "docs").iterdir() if fnmatch.fnmatch(path.name, names)]
    assert [yaml.safe_load(path.read_text(encoding="utf-8")).keys() for path in found] == [{"groups"}]


@pytest.mark.slow
def test_the_image_has_what_an_installation_has() -> None:
    """The same extras as `make setup`: else a setting that works on a machine would be refused in a container."""
    extras = re.compile(r"'\.\[([a-z,]+)\]'")
    printed = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (of_the_image,) = extras.findall(DOCKERFILE)
    (of_an_installation,) = extras.findall(printed.stdout)
    assert set(of_the_image.split(",")) == set(of_an_installation.split(","))
