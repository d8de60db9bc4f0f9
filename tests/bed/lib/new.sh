#!/usr/bin/env bash
# Makes the folder of a new bed, with ports drawn for it, and prints its name:
#   export TESTBED_RUN=$(tests/bed/lib/new.sh)
set -euo pipefail
unset TESTBED_RUN
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/env.sh"
echo "$TESTBED_RUN"
