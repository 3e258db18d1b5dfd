# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Which hypervisors the tests use. fake and xenapi need nothing; the others need root and Debian's packages.
DRIVERS ?= fake xenapi libvirt lxc xen
# Where everything goes that is made here: both folders can be deleted at any time (make clean).
VENV ?= .venv
BUILD ?= build
# More arguments for the tools, as in: make contract PYTEST_ARGS="-k pause -x"
PYTEST_ARGS ?=
SANITY_ARGS ?=
BENCH_ARGS ?=
export DRIVERS VENV BUILD PYTEST_ARGS SANITY_ARGS BENCH_ARGS

bin := $(abspath $(VENV))/bin
build := $(abspath $(BUILD))
copy := $(build)/ansible_collections/anyvirt/compute
libvirt_drivers := $(filter-out fake xenapi,$(DRIVERS))
quick_drivers := $(filter-out xen,$(DRIVERS))
# The Xen host is a machine in an emulator, which mostly waits for itself: what does the same may run beside it.
contract_and_integration := $(if $(quick_drivers),contract-quick) $(if $(filter xen,$(DRIVERS)),contract-xen+integration,integration)

# Ansible's tools keep caches and temporary files in the home folder: give them one of ours. Everything below runs the
# programs of the virtual environment, and Ansible wants a UTF-8 locale.
own_home := HOME="$(build)/home" ANSIBLE_HOME="$(build)/home/.ansible"
# pip's own settings stay those of the user.
pip_config := $(firstword $(PIP_CONFIG_FILE) $(wildcard $(HOME)/.config/pip/pip.conf $(HOME)/.pip/pip.conf))
own_home += $(if $(pip_config),PIP_CONFIG_FILE="$(pip_config)")
run := env $(own_home) PATH="$(bin):$$PATH" LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
from_copy := ANSIBLE_COLLECTIONS_PATH="$(build)"
from_installed := ANSIBLE_COLLECTIONS_PATH="$(build)/installed"
python_minor = $$($(bin)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
python_sources := plugins tests tools docs

ifdef CI
export NO_COLOR := 1
endif

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r target text; do printf '  make %-12s %s\n' "$$target" "$$text"; done
	@printf '\nTests that need no root: make test DRIVERS="fake xenapi"\n'

# -- what a newcomer wants -----------------------------------------------------------------------------------------

.PHONY: quickstart
quickstart: $(VENV)/.base ## See it work: a few instances on the fake hypervisor, nothing to install beforehand
	@$(MAKE) --no-print-directory install
	@$(run) $(from_installed) ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ansible-playbook -i localhost, anyvirt.compute.quickstart

.PHONY: install
install: $(VENV)/.base stage ## Build the tarball and install it under build/installed
	@rm -rf "$(build)/dist" "$(build)/installed"
	@$(run) ansible-galaxy collection build --output-path "$(build)/dist" "$(copy)"
	@$(run) $(from_installed) ansible-galaxy collection install --offline --no-deps -p "$(build)/installed" "$(build)"/dist/*.tar.gz

# -- tests ---------------------------------------------------------------------------------------------------------

.PHONY: test
test: check-drivers ## Everything: packages, lint, sanity, units, lab, contract, integration, molecule
	@python=$$(tools/find-python.sh 3.11); \
	"$$python" tools/run_steps.py $(if $(libvirt_drivers),host) lint sanity units $(if $(filter xenapi,$(DRIVERS)),lab-xenapi) $(if $(filter libvirt lxc,$(DRIVERS)),lab-libvirt) $(contract_and_integration) molecule

.PHONY: check-drivers
check-drivers:
	@unknown="$(filter-out fake xenapi libvirt lxc xen,$(DRIVERS))"; \
	if [ -n "$$unknown" ]; then echo "DRIVERS: there is no '$$unknown'; choose from fake xenapi libvirt lxc xen." >&2; exit 1; fi; \
	if [ -n "$(libvirt_drivers)" ] && { [ "$$(id -u)" != 0 ] || ! [ -e /etc/debian_version ]; }; then \
		echo "The tests on $(libvirt_drivers) install packages and start daemons: they need root on Debian or Ubuntu." >&2; \
		echo "Without: make test DRIVERS='fake xenapi'" >&2; exit 1; fi

.PHONY: host
host: check-drivers $(VENV)/.base stage ## Install what the tests on real hypervisors need, through roles/hypervisor
	@$(run) $(from_copy) tools/converge-twice.sh "$(build)/host.log" tests/host.yml
	@$(MAKE) --no-print-directory $(VENV)/.libvirt

.PHONY: lint
lint: lint-style lint-types lint-layers lint-yaml lint-ansible lint-docs lint-licences ## Style, types, layers, documentation, licences

.PHONY: lint-style lint-types lint-layers lint-yaml lint-ansible lint-docs lint-licences
lint-style: $(VENV)/.dev
	$(bin)/ruff check $(python_sources)
	$(bin)/ruff format --check $(python_sources)

lint-types: $(VENV)/.dev stage
	@cd "$(build)" && $(run) $(from_copy) MYPYPATH="$(build):$(copy)/tests" \
		mypy --config-file "$(copy)/pyproject.toml" ansible_collections/anyvirt/compute

lint-layers: $(VENV)/.dev
	$(bin)/python -m pytest --quiet tests/unit/test_layers.py

lint-yaml: $(VENV)/.dev
	$(bin)/yamllint --strict .

lint-ansible: $(VENV)/.dev stage
	@cd "$(copy)" && $(run) $(from_copy) ansible-lint --nocolor --offline --profile production --strict

lint-docs: $(VENV)/.dev stage
	@cd "$(copy)" && $(run) $(from_copy) antsibull-changelog lint
	@cd "$(copy)" && $(run) $(from_copy) antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
	$(bin)/python tools/support_table.py --check

lint-licences: $(VENV)/.dev
	$(bin)/reuse lint --lines

.PHONY: format
format: $(VENV)/.dev ## Let ruff format and mend what it can, and rewrite the generated support table
	$(bin)/ruff check --fix $(python_sources)
	$(bin)/ruff format $(python_sources)
	$(bin)/python tools/support_table.py

.PHONY: sanity
sanity: $(VENV)/.dev stage ## ansible-test sanity
	@$(run) python tools/seed_pip.py "$(build)/home"
	@cd "$(copy)" && $(run) ansible-test sanity --local --python $(python_minor) --color no $(SANITY_ARGS)
	@if oldest=$$(tools/find-python.sh 3.9 3.9 2>/dev/null); then \
		cd "$(copy)" && $(run) PATH="$(bin):$$(dirname "$$oldest"):$$PATH" \
			ansible-test sanity --local --python 3.9 --color no --test compile --test import; \
	else echo "There is no Python 3.9 here, the oldest that modules run on: not tried with it."; fi

.PHONY: units
units: $(VENV)/.dev stage ## ansible-test units
	@cd "$(copy)" && $(run) ansible-test units --local --python $(python_minor) --color no

.PHONY: lab lab-xenapi lab-libvirt lab-xen
lab: lab-xenapi lab-libvirt lab-xen ## What the tests run on, tested by itself: guests and hosts

lab-xenapi: $(VENV)/.dev
	$(bin)/python -m pytest tests/lab_selftest/test_xenapi_*.py --numprocesses 2 $(PYTEST_ARGS)

lab-libvirt: $(VENV)/.dev $(VENV)/.libvirt
	$(bin)/python -m pytest tests/lab_selftest/test_lab.py $(PYTEST_ARGS)

# Takes minutes; make test leaves it out because the contract suite runs on the same host.
lab-xen: $(VENV)/.dev $(VENV)/.libvirt
	$(bin)/python -m pytest tests/lab $(PYTEST_ARGS)

.PHONY: contract contract-quick contract-xen
contract: check-drivers $(if $(quick_drivers),contract-quick) $(if $(filter xen,$(DRIVERS)),contract-xen) ## The contract suite, on every driver of DRIVERS

contract-quick: $(VENV)/.dev $(if $(filter libvirt lxc,$(DRIVERS)),$(VENV)/.libvirt)
	$(bin)/python -m pytest tests/contract --drivers "$(quick_drivers)" --numprocesses 3 $(PYTEST_ARGS)

contract-xen: $(VENV)/.dev $(VENV)/.libvirt
	$(bin)/python -m pytest tests/contract --drivers xen $(PYTEST_ARGS)

.PHONY: integration
integration: check-drivers $(VENV)/.dev $(if $(libvirt_drivers),$(VENV)/.libvirt) stage ## The modules through playbooks
	PATH="$(bin):$$PATH" LC_ALL=C.UTF-8 python tools/integration.py "$(copy)" "$(build)/home"

.PHONY: molecule
molecule: $(VENV)/.dev stage ## The molecule scenario, on the fake hypervisor
	cd "$(copy)/extensions" && $(run) $(from_copy) ANSIBLE_CALLBACK_RESULT_FORMAT=yaml molecule test

.PHONY: bench
bench: check-drivers $(VENV)/.dev $(if $(libvirt_drivers),$(VENV)/.libvirt) stage ## Measure, and print a table of ratios
	cd tests && $(run) ANSIBLE_COLLECTIONS_PATH="$(build)" python -m bench $(BENCH_ARGS)

# -- documentation -------------------------------------------------------------------------------------------------

.PHONY: docs
docs: $(VENV)/.docs stage ## The documentation as HTML, in build/docs/html
	@rm -rf "$(build)/docs" && mkdir -p "$(build)/docs"/rst/guide && chmod -R go-w "$(build)/docs"
	@cp docs/site/conf.py docs/site/antsibull-docs.cfg "$(build)/docs" && cp docs/site/index.rst "$(build)/docs/rst"
	@cp docs/*.md "$(build)/docs/rst/guide"
	cd "$(build)/docs" && $(run) $(from_copy) antsibull-docs --config-file antsibull-docs.cfg \
		collection --use-current --fail-on-error --dest-dir rst anyvirt.compute
	cd "$(build)/docs" && $(run) sphinx-build -M html rst . -c . -q -W --keep-going
	@echo "Open $(build)/docs/html/index.html"

# -- what the others need ------------------------------------------------------------------------------------------

.PHONY: stage
stage:
	@python=$$(tools/find-python.sh 3.10); "$$python" tools/stage.py "$(build)"

$(VENV)/bin/python:
	@python=$$(tools/find-python.sh 3.10); "$$python" -m venv "$(VENV)"

$(VENV)/.base: requirements/base.txt | $(VENV)/bin/python
	@echo "Installing Ansible into $(VENV) ..."
	@$(bin)/python -m pip --disable-pip-version-check install --quiet -r requirements/base.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@$(bin)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Development needs Python 3.11 or later: make clean; make PYTHON=python3.11 ...")'
	@echo "Installing the development tools into $(VENV) ..."
	@$(bin)/python -m pip --disable-pip-version-check install --quiet -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: requirements/docs.txt $(VENV)/.dev
	@echo "Installing the documentation tools into $(VENV) ..."
	@$(bin)/python -m pip --disable-pip-version-check install --quiet -r requirements/docs.txt
	@touch $@

$(VENV)/.libvirt: requirements/libvirt.txt $(VENV)/.base
	@command -v pkg-config >/dev/null && pkg-config --exists libvirt || \
		{ echo "libvirt-python is compiled here and needs libvirt's headers: run 'make host' (as root) first, or choose DRIVERS=fake." >&2; exit 1; }
	@echo "Installing the client library of libvirt into $(VENV) ..."
	@$(bin)/python -m pip --disable-pip-version-check install --quiet -r requirements/libvirt.txt
	@touch $@

.PHONY: clean
clean: ## Delete everything that make made
	rm -rf "$(VENV)" "$(build)" tests/output .mypy_cache .ruff_cache .pytest_cache .ansible .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
