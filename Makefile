# Every target makes its own environment first; a second call of the same finds it ready.
.PHONY: setup repro test check lint format bench lock

BIN := .venv/bin
export TOKENIZERS_PARALLELISM := false

setup:
	@scripts/setup.sh dev

repro: setup
	@$(BIN)/forgeline repro

test: setup
	$(BIN)/python -m pytest

check: setup lint
	$(BIN)/python -m pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks $(NAME)

lock: setup
	scripts/lock.sh
