#!/usr/bin/env bash
# namespace.sh COMMAND [ARGUMENT ...]: runs it in a network namespace of its own, where the loopback interface has one
# more address, $E2E_MEDIA_ADDRESS, and is the way to everywhere. Firefox makes no ICE candidate of 127.0.0.1, whatever
# its settings say; of this address it does, and no packet leaves the namespace. Needs root.
set -euo pipefail
export E2E_MEDIA_ADDRESS=${E2E_MEDIA_ADDRESS:-10.77.0.1}
exec unshare --net -- bash -c '
	ip link set lo up
	ip address add "$E2E_MEDIA_ADDRESS/32" dev lo
	ip route add default dev lo src "$E2E_MEDIA_ADDRESS"
	exec "$@"' namespace "$@"
