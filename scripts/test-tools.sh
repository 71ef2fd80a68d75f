#!/usr/bin/env bash
# The end-to-end tests' own Python environment with the real httpbin: target/test-tools/venv. Made when it is missing or
# tests/requirements.txt has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${CARGO_TARGET_DIR:-target}/test-tools/venv
made_from=$venv/requirements.txt # written last: a venv without it is half made

cmp -s tests/requirements.txt "$made_from" && "$venv/bin/python" -c 'import gunicorn, httpbin' 2>/dev/null && exit 0

echo "test-tools: httpbin and gunicorn into $venv" >&2
rm -rf "$venv"
python3 -m venv "$venv" || { echo "error: python3 -m venv failed; install the package python3-venv" >&2; exit 1; }
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/requirements.txt || {
    echo "error: pip could not install tests/requirements.txt; the end-to-end tests need httpbin and gunicorn" >&2
    exit 1
}
cp tests/requirements.txt "$made_from"
