# Two commands on a fresh machine: `make demo` and `make test`. Needs Python 3.11 or newer with pip.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
DEMO := demo

.PHONY: demo test lint bench bench-prostate results papers papers-train clean

demo: .venv/demo
	$(BIN)/regcore phantom brain -o $(DEMO)/pair --seed 0
	$(BIN)/regcore register $(DEMO)/pair/fixed.nii.gz $(DEMO)/pair/moving.nii.gz -o $(DEMO)/result \
	    --fixed-labels $(DEMO)/pair/fixed_labels.nii.gz --moving-labels $(DEMO)/pair/moving_labels.nii.gz \
	    --fixed-landmarks $(DEMO)/pair/fixed_landmarks.csv --moving-landmarks $(DEMO)/pair/moving_landmarks.csv

test: .venv/test
	$(BIN)/python -m pytest -rs

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/demo .venv-bench/ready
	.venv-bench/bin/python Testing/benchmarks/run_bench.py

bench-prostate: .venv/demo
	$(BIN)/python Testing/benchmarks/mri_trus.py

# Every trained model against its peers; PARTS="--only contrast" measures one part again.
results: .venv/test .venv-bench/ready
	$(BIN)/python Testing/benchmarks/results.py $(PARTS)

# The papers' experiments, with the weights at hand; papers-train trains, for hours, what its page tells of trainings.
papers: .venv/test
	$(BIN)/python Testing/benchmarks/papers/resaatt.py
	$(BIN)/python Testing/benchmarks/papers/air.py
	$(BIN)/python Testing/benchmarks/papers/page.py

papers-train: .venv/test
	$(BIN)/python Testing/benchmarks/papers/train.py $(PARTS)
	$(BIN)/python Testing/benchmarks/papers/page.py

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

# torch first and by constraints.txt, so that nothing else chooses its version.
.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[cli]'
	touch $@

.venv/test: .venv/demo
	$(PIP) install -c constraints.txt -e '.[cli,train,cluster,test]'
	touch $@

.venv-bench/ready: Testing/benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip --disable-pip-version-check --quiet install -r $<
	touch $@

clean:
	rm -rf .venv .venv-bench $(DEMO) bench
