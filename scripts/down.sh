#!/usr/bin/env bash
# Stops the cluster of `make up` and removes every trace of it: down.sh SKIFF
set -euo pipefail
"$(realpath "$1")" down --purge
