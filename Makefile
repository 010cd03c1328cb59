# Set-up is part of every target: a fresh clone needs python3 (>= 3.11), make and the package registries, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.voxlang-installed
# MMSegmentation lives in an environment of its own
VENV_MMSEG := .venv-mmseg
BIN_MMSEG := $(VENV_MMSEG)/bin
STAMP_MMSEG := $(VENV_MMSEG)/.voxlang-installed

export SAM2_BUILD_CUDA := 0
# idle OpenMP threads must sleep, not spin: two busy processes on two cores would stall each other
export OMP_WAIT_POLICY := passive
# where the environment forbids to write bytecode, every process would compile thousands of modules anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup setup-mmseg demo test test-mmseg lint bench clean-venv

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "voxlang needs Python 3.11 or later, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt setuptools wheel torch torchvision
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(STAMP)

setup-mmseg: $(STAMP_MMSEG)

# sam2 builds against the torch that is there; onedl-mmcv must not see it, or it compiles operators that nothing here uses
$(STAMP_MMSEG): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "voxlang needs Python 3.11 or later, got " + sys.version)'
	$(PYTHON) -m venv $(VENV_MMSEG)
	$(BIN_MMSEG)/python -m pip install -q --disable-pip-version-check uv
	$(BIN_MMSEG)/uv pip install -q --python $(BIN_MMSEG)/python -c constraints.txt setuptools wheel torch torchvision
	$(BIN_MMSEG)/uv pip install -q --python $(BIN_MMSEG)/python -c constraints.txt --no-build-isolation-package sam2 -e '.[dev,mmseg]'
	@touch $(STAMP_MMSEG)

demo: setup
	$(BIN)/python main.py --mode=all --config configs/demo.yaml
	@echo "Open runs/demo/report.html"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# two test processes: most tests are too small for two threads
test: lint
	$(BIN)/python -m pytest -n 2

test-mmseg: setup-mmseg
	$(BIN_MMSEG)/python -m pytest tests/mmseg

bench: setup
	$(BIN)/python -m benchmarks.render
	$(BIN)/python -m benchmarks.field

clean-venv:
	rm -rf $(VENV) $(VENV_MMSEG)
