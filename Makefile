# Set-up is part of every target: a fresh clone needs python3 (>= 3.11), make and the package registries, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.voxlang-installed

export SAM2_BUILD_CUDA := 0
# idle OpenMP threads must sleep, not spin: two busy processes on two cores would stall each other
export OMP_WAIT_POLICY := passive

.PHONY: setup demo test lint bench clean-venv

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "voxlang needs Python 3.11 or later, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt setuptools wheel torch torchvision
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/python main.py --mode=all --config configs/demo.yaml
	@echo "Open runs/demo/report.html"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.field

clean-venv:
	rm -rf $(VENV)
