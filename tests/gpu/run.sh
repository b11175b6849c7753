#!/usr/bin/env bash
# All GPU checks, within nine minutes; README.md says how the machine is fed. Arguments: --help lists them.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${PYTHON:-python3}" -m tests.gpu "$@"
