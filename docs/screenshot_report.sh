#!/usr/bin/env bash
# Writes docs/images/report.png from metrics/report.html: what a reader of README.md sees of it.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
"${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --user-data-dir="$profile" --window-size=1280,1100 \
    --screenshot="$PWD/docs/images/report.png" "file://$PWD/metrics/report.html"
