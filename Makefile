.DEFAULT_GOAL := help
.PHONY: help demo serve test test-cluster test-images lint lint-chart types check compile golden lock images calibrate clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := data,train,serve,registry,service,pipelines,cluster
CONSTRAINTS := constraints.txt
# Where PyTorch's wheels without CUDA are, for a machine without a GPU: docs/installing.md
TORCH_INDEX_URL ?=
PIP_INSTALL = $(BIN)/pip install --quiet --constraint $(CONSTRAINTS) $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL))

$(VENV)/.installed: pyproject.toml setup.py $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[$(EXTRAS),dev]'
	touch $@

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s "$$(printf '\t')"

demo: $(VENV)/.installed ## answer "AR or diffusion?" on real code, then serve and query the models (5 to 7 minutes)
	$(BIN)/crossover doctor
	$(BIN)/crossover run demo --promote always
	$(BIN)/crossover serve studies/demo --try

serve: $(VENV)/.installed ## keep serving the winner of the demo on port 8080
	$(BIN)/crossover serve studies/demo

test: $(VENV)/.installed-dev ## run all tests, one worker a core
	$(BIN)/pytest --numprocesses logical --dist worksteal --ignore tests/cluster

test-cluster: $(VENV)/.installed-dev ## the tests on a real Kubernetes API server; its first build takes 12 to 30 minutes
	cluster="$${CROSSOVER_TEST_KUBECONFIG:-$$KUBECONFIG}"; { test -n "$$cluster" || $(BIN)/python -m tests.cluster.binary; } && \
	CROSSOVER_TEST_KUBECONFIG="$$cluster" $(BIN)/pytest tests/cluster

lint: $(VENV)/.installed-dev ## style and import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

lint-chart: $(VENV)/.installed-dev ## checkov over all that the chart renders, in an environment of its own (300 MB)
	test -x build/checkov/bin/checkov || \
		($(PYTHON) -m venv build/checkov && build/checkov/bin/pip install --quiet checkov==3.3.30)
	$(BIN)/python -m tests.charts.write_manifests build/chart
	build/checkov/bin/checkov --directory build/chart --config-file charts/crossover/checkov.yaml

types: $(VENV)/.installed-dev ## mypy, strict
	mkdir -p build/typing && for folder in cluster components pipelines services; do \
		ln -sfn ../../$$folder build/typing/crossover_$$folder; done
	$(BIN)/mypy

check: lint types test ## everything that CI runs

compile: $(VENV)/.installed ## write the pipeline's YAML to build/crossover_study.yaml
	mkdir -p build && $(BIN)/crossover compile --out build/crossover_study.yaml

golden: $(VENV)/.installed-dev ## renew the golden files after an intended change
	$(BIN)/crossover compile --out tests/pipelines/golden/crossover_study.yaml
	$(BIN)/crossover compile --profile tests/pipelines/golden/gpu_profile.yaml \
		--out tests/pipelines/golden/crossover_study_gpu.yaml
	cp tests/pipelines/golden/crossover_study.yaml charts/crossover/files/

lock: $(VENV)/.installed-dev ## renew the images' lock files after a change of dependencies
	UV=$(BIN)/uv images/lock

images: ## build the container images: docs/images.md
	images/build

test-images: $(VENV)/.installed-dev ## run the built images as pods would, with buildah and runc, as root
	$(BIN)/pytest tests/images

calibrate: $(VENV)/.installed ## false alarms, power and coverage of the crossover test, as a table
	$(BIN)/python -m benchmarks.calibration

clean: ## remove the environment, build products and the demo's study
	rm -rf $(VENV) build studies/demo *.egg-info
