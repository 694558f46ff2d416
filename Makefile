# cjc-agent: `make` alone lists what can be done.
PREFIX  ?= /usr
DESTDIR ?=
# the interpreter that the installed agent runs: the newest /usr/bin/python3.N (>= 3.9)
PYTHON  ?= $(shell ls /usr/bin/python3.[0-9] /usr/bin/python3.[0-9][0-9] 2>/dev/null | sort -t. -k2 -n | tail -n 1)
OCF_DIR ?= /usr/lib/ocf/resource.d/cjc
CORE    := $(PREFIX)/lib/cjc-agent
# a compiled script saves time at every call, but runs under one version only: not for a PYTHON that may become another one
MAIN    := $(if $(filter python3.%,$(notdir $(PYTHON))),__main__.pyc,__main__.py)
VENV    := .venv
LAB     := $(VENV)/bin/python tests/lab/run_in_node.py
CLUSTER := $(VENV)/bin/python tests/cluster

.PHONY: help
help:  ## list the targets
	@echo "cjc-agent: fail NEC WebSAM JobCenter (CJC Option) over safely"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'
	@echo
	@echo "  install honours DESTDIR, PREFIX ($(PREFIX)), PYTHON ($(PYTHON)) and OCF_DIR ($(OCF_DIR))"

.PHONY: demo demo-single demo-clusterpro
demo: $(VENV)/ready  ## the story: a site fails over on a real two-node cluster, under load (root, Debian; KEEP=1 leaves it up)
	@$(if $(KEEP),$(CLUSTER) demo,$(LAB) $(VENV)/bin/python tests/demo/failover.py)
demo-single: $(VENV)/ready  ## one node only: a site started, hurt, recovered, stopped (root, Debian)
	@$(LAB) $(VENV)/bin/python tests/demo/single.py
demo-clusterpro: $(VENV)/ready  ## the story with CLUSTERPRO's scripts, under a SIMULATOR of CLUSTERPRO (root, Debian)
	@$(LAB) $(VENV)/bin/python tests/demo/clusterpro.py

NODES ?= 2
NODE  ?= node1
.PHONY: cluster-up cluster-down cluster-shell cluster-fault
cluster-up: $(VENV)/ready  ## a cluster to play with, a site running on it; NODES=3 for three (root, Debian)
	@$(CLUSTER) up --nodes "$(NODES)"
cluster-down: $(VENV)/ready  ## take it down
	@$(CLUSTER) down
cluster-shell: override export RUN := $(value RUN)  # for the shell in the node: make leaves every $ in it alone
cluster-shell: $(VENV)/ready  ## a shell on NODE=node1, or RUN='one command'
	@$(CLUSTER) shell "$(NODE)" $${RUN:+"$$RUN"}
cluster-fault: override export DO := $(value DO)
cluster-fault: $(VENV)/ready  ## hardware fails: DO='off node1', on, reboot, cut, mend NODE; dead, hangs, broken, lies, slow, alive (fence device)
	@$(CLUSTER) fault "$$DO"

.PHONY: test
test: $(VENV)/ready  ## all tests, on a throwaway node of their own (root, Debian; elsewhere unit tests and fuzzing only)
	@PYTEST="$(VENV)/bin/python -m pytest $(PYTEST_ARGS)" NODE="$(LAB)" sh tests/run

.PHONY: long
long: $(VENV)/ready  ## 10 moves and 10 power cuts in one run, under a steady stream of jobs; then fuzz (root, Debian; FAILOVERS=)
	@$(LAB) $(VENV)/bin/python tests/long/failovers.py
	@$(MAKE) --no-print-directory fuzz

FUZZ ?= 100000
.PHONY: fuzz
fuzz: $(VENV)/ready  ## 100,000 hostile inputs for every parser, 1,000 calls of the agent (root, Debian; FUZZ=)
	@$(LAB) env CJC_LAB=1 FUZZ="$(FUZZ)" $(VENV)/bin/python -m pytest -q tests/fuzz

.PHONY: faults
faults: $(VENV)/ready  ## the whole fault matrix: prints it, writes docs/faults.md and .json (root, Debian; ONLY='words' for some rows)
	@$(VENV)/bin/python tests/faults --only "$(ONLY)"

.PHONY: mutants
mutants: $(VENV)/ready  ## break the core in every listed way (tests/mutants): the tests named there must notice (root, Debian)
	@$(VENV)/bin/python tests/mutants

SHELL_FILES := ocf/jobcenter packaging/cjc-agent $(wildcard clusterpro/*.sh) tests/run tests/setup .ci/run tests/cluster/boot tests/cluster/standard-group \
	$(wildcard docs/pacemaker/*.pcs)
.PHONY: lint
lint: $(VENV)/ready  ## ruff, mypy, shellcheck, checkbashisms
	$(VENV)/bin/ruff check agent tests
	$(VENV)/bin/mypy
	shellcheck -s sh $(SHELL_FILES)
	checkbashisms --posix --force $(SHELL_FILES)

.PHONY: bench
bench: $(VENV)/ready  ## against Filesystem + IPaddr2 + a start script: cost of one monitor, outage of move and power cut; one doctor (root, Debian; ROUNDS=)
	@$(LAB) $(VENV)/bin/python tests/bench/doctor.py
	@$(LAB) $(VENV)/bin/python tests/bench/monitor.py
	@$(LAB) $(VENV)/bin/python tests/bench/outage.py

.PHONY: docs
docs:  ## rewrite what is made from the tables: docs/parameters.md, docs/rules.md, the golden meta-data (then read the diff)
	$(PYTHON) packaging/parameters_page.py > docs/parameters.md
	$(PYTHON) packaging/rules_page.py > docs/rules.md
	sh ocf/jobcenter meta-data > tests/unit/golden/meta-data.xml

$(VENV)/ready: setup.cfg tests/setup
	@sh tests/setup $(VENV)
	@touch $@

.PHONY: install
install:  ## install the OCF agent, CLUSTERPRO's scripts, the core and the cjc-agent command
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
		{ echo "make install: '$(PYTHON)' is no Python >= 3.9: name one, e.g. make install PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	install -d $(DESTDIR)$(CORE)/clusterpro $(DESTDIR)$(OCF_DIR) $(DESTDIR)$(PREFIX)/sbin
	rm -rf $(DESTDIR)$(CORE)/cjc_agent
	cd agent && find cjc_agent -name '*.py' -exec install -D -m 644 {} $(DESTDIR)$(CORE)/{} \;
	install -m 644 agent/__main__.py $(DESTDIR)$(CORE)/__main__.py
	sed -e "s|^PYTHON=''|PYTHON='$(PYTHON)'|" -e "s|^CORE=''|CORE='$(CORE)'|" -e 's|^MAIN=__main__.py|MAIN=$(MAIN)|' ocf/jobcenter > $(DESTDIR)$(OCF_DIR)/jobcenter
	sed -e "s|^PYTHON=''|PYTHON='$(PYTHON)'|" -e "s|^CORE=''|CORE='$(CORE)'|" packaging/cjc-agent > $(DESTDIR)$(PREFIX)/sbin/cjc-agent
	for name in start stop genw; do sed -e "s|^AGENT=''|AGENT='$(PREFIX)/sbin/cjc-agent'|" clusterpro/$$name.sh > $(DESTDIR)$(CORE)/clusterpro/$$name.sh; done
	chmod 755 $(DESTDIR)$(OCF_DIR)/jobcenter $(DESTDIR)$(PREFIX)/sbin/cjc-agent $(DESTDIR)$(CORE)/clusterpro/*.sh
	$(PYTHON) -I -m compileall -q -o 2 --invalidation-mode unchecked-hash -s "$(DESTDIR)" $(DESTDIR)$(CORE)/cjc_agent
	$(PYTHON) -I -OO -c 'import py_compile as p, sys; p.compile(sys.argv[1], sys.argv[1] + "c", sys.argv[2], True, invalidation_mode=p.PycInvalidationMode.UNCHECKED_HASH)' \
		$(DESTDIR)$(CORE)/__main__.py $(CORE)/__main__.py

.PHONY: uninstall
uninstall:  ## remove what install installed
	rm -rf $(DESTDIR)$(CORE)
	rm -f $(DESTDIR)$(OCF_DIR)/jobcenter $(DESTDIR)$(PREFIX)/sbin/cjc-agent
	-rmdir $(DESTDIR)$(OCF_DIR) 2>/dev/null

.PHONY: clean
clean:  ## remove what was made here
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
