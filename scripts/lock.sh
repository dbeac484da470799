#!/usr/bin/env bash
# Writes constraints.txt anew: one set of versions for every platform and every extra.
# Run it after changing dependencies in pyproject.toml. Local wheel folders are ignored on purpose: a local build
# (torch 2.13.0+cpu, say) must satisfy the committed file, never appear in it.
set -euo pipefail
cd "$(dirname "$0")/.."
env -u UV_FIND_LINKS -u PIP_FIND_LINKS .venv/bin/uv pip compile --quiet --universal --all-extras --no-annotate \
    --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o constraints.txt
