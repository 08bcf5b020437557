"""Whatever the API's own document allows, and what it forbids, against a running daemon: nothing may break.

    python benchmarks/api_fuzz.py [--schemathesis var/api-fuzz/bin/st] [--examples 40] [--seed 7]

`hrmd run` trades on paper, on a simulated tape, in a process of its own; schemathesis (not one of hrmd's dependencies:
`make api-fuzz` puts it into an environment of its own) makes requests from `/openapi.json`, good and bad ones, with a
token, one operation after the other and in chains that follow from each other. Exit 1 where an answer is a 5xx, has a
status, a type, a header or a shape that the document doesn't say, where nonsense was taken, or the daemon ended.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.control_load import start

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "missing_required_header", "unsupported_method",
)  # fmt: skip
"""All but two: an order of the right form may be refused all the same (positive_data_acceptance), and after ten wrong
tokens the address is locked (ignored_auth; tests/integration/test_control_security.py asks without a token)."""
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 408, 409, 413, 422, 429]
[checks.missing_required_header]
expected-statuses = [400, 401, 403, 429]
"""
PACES = {"control.writes_per_s": 100_000, "control.heavy_per_minute": 100_000}


def fuzz(arguments: argparse.Namespace, url: str, token: str, directory: Path) -> int:
    """Run schemathesis; its exit code."""
    bearer = {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/openapi.json", headers=bearer), timeout=30) as answer:
        (directory / "openapi.json").write_bytes(answer.read())
    (directory / "schemathesis.toml").write_text(CONFIG)
    found = Path(shutil.which(arguments.schemathesis) or arguments.schemathesis).resolve()
    command = [
        str(found), "--config-file", str(directory / "schemathesis.toml"), "run",
        "--no-color", str(directory / "openapi.json"), "--url", url, "-H", f"Authorization: Bearer {token}",
        "--checks", ",".join(CHECKS), "--max-examples", str(arguments.examples), "--seed", str(arguments.seed),
        "--continue-on-failure", "--request-timeout", "30", "--suppress-health-check", "all", "--warnings", "off",
        "--generation-database", "none", "--report", "har", "--report-har-path", str(directory / "har.json"),
    ]  # fmt: skip
    return subprocess.run(command, check=False, cwd=directory).returncode  # it leaves a cache where it runs


def count(har: Path) -> tuple[Counter[int], set[str]]:
    """Answers by status, and operations that were asked."""
    entries = json.loads(har.read_text())["log"]["entries"]
    places = {f"{one['request']['method']} {one['request']['url'].split('?')[0].split('/', 3)[-1]}" for one in entries}
    return Counter(one["response"]["status"] for one in entries), places


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", default="var/api-fuzz/bin/st", help="the command")
    parser.add_argument("--examples", type=int, default=40, help="of each operation, at most")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        daemon, url, token = start(directory, "rules", PACES)
        try:
            code = fuzz(arguments, url, token, directory)
            ended = daemon.poll()
        finally:
            daemon.terminate()
            daemon.wait(30)
        statuses, places = count(directory / "har.json")
        log = [json.loads(line) for line in (directory / "log").read_text().split("\n") if line.endswith("}")]
        broken = [line for line in log if line["event"] in ("control_failed", "actor_crashed", "fault")]
        print(f"requests    {statuses.total()}, at {len(places)} places")
        print("answers     " + ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items())))
        print(f"5xx         {sum(count for status, count in statuses.items() if status >= 500)}")
        print(f"broken      {len(broken)} lines in the daemon's log say so")
        for line in broken[:5]:
            print(f"            {line}")
        if ended is not None:
            print(f"the daemon ended with {ended}")
        return 1 if code or broken or ended is not None else 0


if __name__ == "__main__":
    raise SystemExit(main())
