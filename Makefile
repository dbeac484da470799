# Every target makes its own environment first; a second call of the same finds it ready.
.PHONY: setup repro test check lint format bench lock

BIN := .venv/bin
# A process for every core, at most four: each needs one to two gigabytes. Tests of a file share what they build.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile
export TOKENIZERS_PARALLELISM := false

setup:
	@scripts/setup.sh dev

repro: setup
	@$(BIN)/forgeline repro

test: setup
	$(PYTEST)

check: setup lint
	$(PYTEST) -m "not slow"

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
