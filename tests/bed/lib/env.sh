# Names, folders and ports of one test bed. Sourced by every script; set any of them before to change it.
#
# One folder is one bed: TESTBED_RUN names it, and $TESTBED_RUN/env keeps the ports that were drawn for it, so that
# all scripts with the same TESTBED_RUN agree and two beds never meet. Without TESTBED_RUN a new folder is made
# (lib/new.sh prints one to keep).
if [ -z "${TESTBED_RUN:-}" ]; then
	TESTBED_RUN=$(mktemp -d "${TMPDIR:-/tmp}/testbed.XXXXXX")
fi
export TESTBED_RUN
mkdir -p "$TESTBED_RUN"
: "${TESTBED_ADDR:=127.0.0.1}"
if [ ! -s "$TESTBED_RUN/env" ]; then
	python3 "$(dirname "${BASH_SOURCE[0]}")/free_ports.py" "$TESTBED_ADDR" PBX_SIP_PORT PBX_SIPS_PORT PBX_XCAP_PORT \
		PBX_MSRP_PORT SIPP_UAS_PORT BARESIP_CTRL_PORT ECHO_SIP_PORT ECHO_MSRP_PORT BARESIP_RTP_PORTS=200 \
		>"$TESTBED_RUN/env.new" && mv "$TESTBED_RUN/env.new" "$TESTBED_RUN/env"
fi
. "$TESTBED_RUN/env"
: "${PBX_DOMAIN:=pbx.test}"
: "${PBX_REALM:=$PBX_DOMAIN}"
: "${PBX_USERS:=1001 1002 1003 1004}"
: "${PBX_PASSWORD:=secret}"
