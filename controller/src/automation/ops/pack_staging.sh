#!/bin/bash
# Installs what a pack requires. $1: where the pack is, in this container and wherever it will run: the
# scripts of a virtual environment name the place where it was made.
set -euo pipefail
cd "$1"
tar -xzf content.tgz
rm content.tgz

# Debian keeps pip as a wheel that can be run as it is; then the environment needs no copy of its own.
wheel=$(compgen -G '/usr/share/python-wheels/pip-*.whl' | sort -V | tail -n 1 || true)
if [[ -n $wheel ]]; then
  python3 -m venv --without-pip virtualenv
  pip=(virtualenv/bin/python "$wheel/pip")
else
  python3 -m venv virtualenv
  pip=(virtualenv/bin/python -m pip)
fi
export PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off
export PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-30} PIP_RETRIES=${PIP_RETRIES:-3}
"${pip[@]}" install --no-warn-script-location --no-compile -r content/requirements.txt
# Compiled once, here, and not by times: those may change on the way to an agent.
virtualenv/bin/python -m compileall -q --invalidation-mode unchecked-hash virtualenv/lib >/dev/null 2>&1 || true

mkdir -p out
tar -czf out/pack.tgz content virtualenv
