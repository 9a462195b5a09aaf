PYTHON ?= python3
BIN = .venv/bin
LOWEST = .venv-lowest
SEEDS ?= 1

.PHONY: demo test lowest dev lint clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

$(LOWEST)/ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) .ci/versions.py lowest > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install -q -c $(LOWEST)/constraints.txt -e '.[dev]'
	touch $@

.link/keyshift:  # the package's folder as mypy and pyright need to see it
	mkdir -p .link
	ln -sfn .. $@

dev: .venv/ready .link/keyshift
	$(BIN)/pre-commit install >/dev/null 2>&1 || true

demo: .venv/ready
	$(BIN)/keyshift compare demo seeds=$(SEEDS)

test: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

lowest: $(LOWEST)/ready
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -n 2

lint: .venv/ready .link/keyshift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv $(LOWEST) .link build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
