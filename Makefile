# Every target creates its own environment, so a machine needs only Python 3.11 or newer. `make help` lists the targets.

PY := .venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The project is installed again if its metadata or C sources have changed, or if a C compiler was installed on or removed
# from this machine. The name of the stamp file contains "c" if there is a C compiler, and otherwise "python".
BUILT_FROM := $(wildcard pyproject.toml setup.py csrc/*.c csrc/*.h csrc/*.py) scripts/make-venv
CORE := $(shell scripts/has-c-toolchain && echo c || echo python)
FOR_TEST := .venv/.installed-test-$(CORE)
FOR_CHECK := .venv/.installed-check-$(CORE)
FOR_REPORT := .venv/.installed-report-$(CORE)

# The number of test processes that run at a time. Some tests start several more processes.
JOBS ?= 2
PYTEST := $(PY) -m pytest
# The commit that `make bench-against` compares the working tree with.
REV ?= HEAD
# The seed of the random data in `make soak` and `make mutants`. Make prints the command with the seed, so that a failed
# run can be repeated.
SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
C_FILES := $(wildcard csrc/*.c csrc/*.h benchmarks/*.c)

.PHONY: help demo test test-all test-pythons mutants lint format check bench-smoke bench bench-against bench-report bench-peers soak sanitize site generate clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(FOR_TEST) ## Show two workers that share a file, and what happens when one worker is killed
	@$(PY) examples/demo.py

test: $(FOR_TEST) ## Run the fast tests: about two minutes on two cores
	$(PYTEST) -n $(JOBS) -m "not slow and not soak"

test-all: $(FOR_TEST) ## Run all tests, including the slow ones: about ten minutes
	$(PYTEST) -n $(JOBS) -p tests.guarantees

test-pythons: $(FOR_TEST) ## Run conformance, unit and scan tests on every Python here, with the C core and without
	$(PY) scripts/test_pythons.py

# The tests come last, so that a run ends with their result.
check: lint site bench-smoke demo sanitize test-pythons test-all ## Run all that CI runs: about 20 minutes on two cores

lint: $(FOR_CHECK) ## Check style, types and import directions, and compile the C sources with each C compiler here
	@scripts/check-c
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) scripts/check_types.py
	.venv/bin/lint-imports --no-logo
	.venv/bin/clang-format --dry-run --Werror $(C_FILES)
	$(PY) scripts/check_api.py

site: $(FOR_CHECK) ## Build the documentation as a site in build/site; a broken link fails
	@scripts/make-site

format: $(FOR_CHECK) ## Bring Python and C into the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	.venv/bin/clang-format -i $(C_FILES)

bench-smoke: $(FOR_CHECK) ## Run each benchmark once, without timing
	$(PYTEST) benchmarks --benchmark-disable -q

bench: $(FOR_CHECK) ## Run the benchmarks and compare the figures with their targets (on an otherwise idle machine)
	$(PY) -m benchmarks

bench-against: $(FOR_CHECK) ## Compare instructions and system calls with an earlier commit's: make bench-against REV=HEAD~1
	$(PY) -m benchmarks.against $(REV)

bench-report: $(FOR_REPORT) ## Write the tables and plots of docs/performance.md from benchmarks/results
	$(PY) -m benchmarks.publish

bench-peers: $(FOR_CHECK) ## Install other task queues, and compare their figures with this project (needs PyPI and npm)
	$(PY) -m benchmarks.peers
	for case in peers peers-crowd peers-checks; do $(PY) -m benchmarks $$case || exit; done

mutants: $(FOR_CHECK) ## Change the code in one place at a time, and list the changes that no test detects
	$(PY) scripts/mutate.py --jobs $(JOBS) --seed $(SEED)

soak: $(FOR_CHECK) ## Run the tests that take hours and print figures
	$(PYTEST) -m soak -s -o faulthandler_timeout=0 --hypothesis-profile=soak --hypothesis-seed=$(SEED)
	$(PY) -m tests.sanitize -n 0 -m soak -s -o faulthandler_timeout=0 --hypothesis-profile=soak --hypothesis-seed=$(SEED) \
		tests/scan/test_same_answers.py tests/fault/test_fuzz_files.py
	$(PY) -m tests.sqlite_suite.run --jobs $(JOBS) build/sqlite-suite
	$(MAKE) mutants SEED=$(SEED)

sanitize: $(FOR_TEST) ## Run the tests of the C core on a build with sanitizers (gcc)
	$(PY) -m tests.sanitize -n $(JOBS)

generate: $(FOR_TEST) ## Generate the asynchronous interface and methods in sqlite_claims/aio
	$(PY) scripts/make_aio.py

clean: ## Remove the files that builds and tests have created
	rm -rf .venv .venvs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache .peers
	find sqlite_claims -name '*.so' -delete

$(FOR_TEST):
	@scripts/make-venv cli,test
	@touch $@

$(FOR_CHECK): | $(FOR_TEST)
	@scripts/make-venv cli,test,dev,docs
	@touch $@

$(FOR_REPORT): | $(FOR_CHECK)
	@scripts/make-venv cli,test,dev,docs,bench
	@touch $@

$(FOR_TEST) $(FOR_CHECK) $(FOR_REPORT): $(BUILT_FROM)
