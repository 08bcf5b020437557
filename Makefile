# Everything sets up what it needs: a fresh machine needs Python 3.11 or newer, make and a package index.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := var/demo

.PHONY: help setup demo test quick nightly check lint types imports wheel docs audit release bench bench-peers live simulate chaos chaos-model soak control-load api-fuzz recovery fuzz clean install-system uninstall-system

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

# $(call install,EXTRAS): hrmd as it lies here into .venv. fyers-apiv3 pins versions of its own, which are not taken.
# The pip that comes with Python 3.11 takes twice as long as a newer one, and does where none can be had.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	-$(BIN)/pip install -qq --disable-pip-version-check 'pip>=25'
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(1)]'
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt --no-deps fyers-apiv3
endef
comma := ,

.venv/.runtime: pyproject.toml constraints.txt
	$(call install,alerts$(comma)fyers)
	@touch $@

.venv/.dev: pyproject.toml constraints.txt
	$(call install,alerts$(comma)fyers$(comma)dev)
	@touch .venv/.runtime $@

setup: .venv/.runtime ## install what the daemon needs into .venv

demo: .venv/.runtime ## simulate four trading days with trends and replay them through the whole daemon
	@mkdir -p $(DEMO)
	$(BIN)/hrmd tape simulate --out $(DEMO)/tape.parquet --sessions 4 --seed 7 --trends 2 --force
	$(BIN)/hrmd replay $(DEMO)/tape.parquet --strategy hrm --journal $(DEMO)/journal.sqlite --report $(DEMO)/report
	$(BIN)/hrmd verify $(DEMO)/journal.sqlite

# Whole files in the order that tests/conftest.py puts them in, so that a file's fixtures are made once. Compiled modules are
# kept whatever the shell says, or every worker and every daemon that a test starts would compile them all again.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: .venv/.dev ## all tests but those of the night on all cores, with branch coverage (at least 90 %)
	$(PYTEST) -m 'not nightly' --cov --cov-report=term

quick: .venv/.dev ## in a minute and a half what most mistakes break: no processes, no training, few examples
	HYPOTHESIS_PROFILE=quick $(PYTEST) -m 'not slow' tests/unit tests/property

nightly: .venv/.dev ## every property, 33 times as deep as CI looks, what takes minutes, and 5,000 simulated sessions
	HYPOTHESIS_PROFILE=nightly $(PYTEST) --timeout=0 -m 'hypothesis or nightly'
	$(BIN)/python -m tests.simulation --sessions 5000

simulate: .venv/.dev ## ten minutes of simulated sessions of the whole system, with faults and operators; SEED=N shows one
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--minutes 10)

check: lint types imports test ## everything that CI asks for

lint: .venv/.dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev ## mypy --strict
	$(BIN)/mypy

imports: .venv/.dev ## the one direction in which modules may import each other
	$(BIN)/lint-imports

wheel: .venv/.dev ## build the wheel and use it outside the checkout, in an environment of its own
	.ci/wheel

docs: .venv/.dev ## the documentation as a site in var/site, reference pages from the code; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

audit: .venv/.dev ## ask an advisory database about every pinned version (needs to reach one)
	@test -x var/audit/bin/pip-audit || { $(PYTHON) -m venv var/audit && var/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1; }
	var/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

release: .venv/.dev ## VERSION=X.Y.Z: version, changelog and tag in a commit; wheel, bill of materials and checksums in dist/
	PYTHON=$(PYTHON) .ci/release $(VERSION)

bench: .venv/.runtime ## replay speed and memory on a million simulated ticks
	$(BIN)/python benchmarks/replay.py

bench-peers: .venv/.runtime ## the same EMA cross on the same million ticks in hrmd and in its peers, each in an environment of its own
	$(BIN)/python benchmarks/peers.py

live: .venv/.runtime ## a minute of 15,000 messages a second from the Fyers SDK to bars: rate, losses, loop lag
	$(BIN)/python benchmarks/live.py

chaos: .venv/.dev ## kill the daemon 300 times while it trades on a misbehaving exchange (up to a quarter of an hour)
	$(BIN)/python benchmarks/chaos.py --kills 300

chaos-model: .venv/.dev ## models, feed, broker, disk and loop that go wrong in a running daemon: seen when and where, and what is lost
	$(BIN)/python benchmarks/chaos_model.py

soak: .venv/.dev ## two million orders through one process: memory and file descriptors must stay flat
	MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536 $(BIN)/python benchmarks/soak.py  # as in systemd/hrmd.service

control-load: .venv/.dev ## a minute of 200 readers, 20 stalled ones and 500 requests a second: what they cost decisions
	$(BIN)/python benchmarks/control_load.py

# schemathesis is no dependency of hrmd: it has an environment of its own, in versions that get on with each other.
var/api-fuzz/.made: Makefile
	@test -x var/api-fuzz/bin/python || $(PYTHON) -m venv var/api-fuzz
	var/api-fuzz/bin/pip install --quiet --disable-pip-version-check schemathesis==4.32.5 hypothesis==6.138.2 hypothesis-jsonschema==0.23.1
	@touch $@

api-fuzz: .venv/.dev var/api-fuzz/.made ## what the API's own document allows and forbids against a running daemon: no 5xx, nothing undocumented
	$(BIN)/python benchmarks/api_fuzz.py

recovery: .venv/.dev ## from start to recovered with 100,000 journal records; microseconds of a risk check
	$(BIN)/python benchmarks/recovery.py

fuzz: .venv/.dev ## ten minutes of damaged files of every kind through the command line
	PYTHONPATH=. $(BIN)/python benchmarks/fuzz.py --minutes 10

# Where a package would be built: DESTDIR=… puts the files there and touches nothing else. HRMD_HOME is where .venv is.
HRMD_HOME ?= /opt/hrmd
UNIT_DIR := $(DESTDIR)/etc/systemd/system
UNITS := $(notdir $(wildcard systemd/*.service systemd/*.timer))

# The units see no home directory (ProtectHome) and name hrmd in lines that systemd splits at spaces.
define reachable
	@for path in '$(HRMD_HOME)' "$$(readlink -m '$(HRMD_HOME)/.venv/bin/python')"; do case "$$path" in \
	/home/*|/root/*|/run/user/*) echo "error: HRMD_HOME: $$path is in a home directory, which the service can't see; put hrmd and its Python elsewhere, such as /opt/hrmd" >&2; exit 2;; \
	*[!A-Za-z0-9/._+@-]*|[!/]*|'') echo "error: HRMD_HOME: expected a whole path of letters, digits and /._+@- such as /opt/hrmd, got $$path" >&2; exit 2;; \
	esac; done
endef

install-system: ## the service as root: user, directories, units, an example of settings, a control token; starts nothing
	$(call reachable)
	install -d -m 0755 $(UNIT_DIR) $(DESTDIR)/etc/hrmd $(DESTDIR)/usr/lib/sysusers.d $(DESTDIR)/usr/lib/tmpfiles.d
	for unit in $(UNITS); do sed 's|/opt/hrmd|$(HRMD_HOME)|g' systemd/$$unit > $(UNIT_DIR)/$$unit && chmod 0644 $(UNIT_DIR)/$$unit || exit 1; done
	install -m 0644 systemd/sysusers.d/hrmd.conf $(DESTDIR)/usr/lib/sysusers.d/hrmd.conf
	install -m 0644 systemd/tmpfiles.d/hrmd.conf $(DESTDIR)/usr/lib/tmpfiles.d/hrmd.conf
	test -e $(DESTDIR)/etc/hrmd/settings.yaml || install -m 0644 systemd/settings.example.yaml $(DESTDIR)/etc/hrmd/settings.yaml
	test -e $(DESTDIR)/etc/hrmd/control-token || (umask 077 && $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(32))' > $(DESTDIR)/etc/hrmd/control-token)
	test -n "$(DESTDIR)" || (systemd-sysusers hrmd.conf && systemd-tmpfiles --create hrmd.conf && systemctl daemon-reload)
	@echo "installed; edit /etc/hrmd/settings.yaml, then: systemctl enable --now hrmd, or the two hrmd-market timers"

uninstall-system: ## stop and remove units, user's and directories' files; settings, secrets, journal and tapes stay
	test -n "$(DESTDIR)" || for unit in $(UNITS); do systemctl disable --now $$unit 2> /dev/null || true; done
	rm -f $(addprefix $(UNIT_DIR)/,$(UNITS)) $(DESTDIR)/usr/lib/sysusers.d/hrmd.conf $(DESTDIR)/usr/lib/tmpfiles.d/hrmd.conf
	test -n "$(DESTDIR)" || systemctl daemon-reload
	@echo "removed; /etc/hrmd, /var/lib/hrmd and the user hrmd are left: they hold settings, secrets, journal and tapes"

clean: ## remove what was built, the environment too
	rm -rf .venv var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
