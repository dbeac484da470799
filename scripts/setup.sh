#!/usr/bin/env bash
# Makes .venv from constraints.txt; a second call with the same inputs costs nothing (a stamp holds their hash).
# Extras to install are the arguments, e.g. `scripts/setup.sh dev`.
set -euo pipefail
cd "$(dirname "$0")/.."

extras=$(IFS=,; echo "$*")
python=${PYTHON:-python3}
stamp=.venv/forgeline-setup
inputs=$({ cat pyproject.toml constraints.txt "$0"; echo "$extras"; "$python" --version; } | sha256sum | cut -d' ' -f1)
[ "$(cat "$stamp" 2>/dev/null || true)" = "$inputs" ] && exit 0

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "forgeline needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2
    exit 1
}
rm -f "$stamp"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

# pip and uv do not share settings: hand pip's extra wheel folders on, so a local CPU build of torch is found.
find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}}
if [ -n "$find_links" ]; then
    # uv separates folders by commas, pip by white space.
    UV_FIND_LINKS=$(echo $find_links | tr ' ' ',')
    export UV_FIND_LINKS
fi
UV_COMPILE_BYTECODE=1 .venv/bin/uv pip install --quiet --python .venv/bin/python \
    --constraint constraints.txt --editable ".${extras:+[$extras]}"
echo "$inputs" >"$stamp"
