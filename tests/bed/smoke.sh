#!/usr/bin/env bash
# Proves that the bed works on this machine: PBX up, a digest-protected call sipp -> PBX -> baresip
# (answered, tone recorded), a call baresip -> PBX -> sipp, an MSRP echo. Exit status 0: all passed.
# Everything it starts it ends by its process id. Set TESTBED_RUN and the ports to run two at a time.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib/env.sh"
good=0 bad=0
check() { if [ "$1" = 0 ]; then good=$((good + 1)); echo "ok   $2"; else bad=$((bad + 1)); echo "FAIL $2"; fi; }
cleanup() { for p in ${pids:-}; do kill "$p" 2>/dev/null; done; "$here/baresip/stop.sh" 1003; "$here/kamailio/stop.sh"; }
trap cleanup EXIT

"$here/kamailio/start.sh" >/dev/null; check $? "PBX answers OPTIONS"
"$here/sipp/uas.sh" >/dev/null 2>&1 & pids=$!
sox -q -n -r 8000 -c 1 -b 16 "$TESTBED_RUN/tone.wav" synth 20 sine 1000 gain -10
BARESIP_PLAY=$TESTBED_RUN/tone.wav "$here/baresip/start.sh" 1003 >/dev/null; check $? "baresip registers with digest"
timeout 15 "$here/sipp/uac.sh" 1003 -d 1000 >/dev/null 2>&1; check $? "sipp calls baresip through the PBX (407, 180, 200, BYE)"
printf 'cmd dial sip:7001@%s:%s\nexpect CALL_ESTABLISHED 5\ncmd sndcode 5\nsleep 1\ncmd hold\nsleep 0.5\ncmd resume\nsleep 0.5\ncmd hangup\n' \
	"$TESTBED_ADDR" "$PBX_SIP_PORT" | timeout 20 "$here/baresip/ctl.py" --addr "$TESTBED_ADDR" --port "$BARESIP_CTRL_PORT" run >/dev/null
check $? "baresip calls sipp, DTMF, hold, resume"
wav=$(ls -S "$TESTBED_RUN"/baresip-1003/rec/*-enc.wav 2>/dev/null | head -1)
hz=$(sox "$wav" -n stat 2>&1 | sed -n 's/^Rough *frequency: *//p'); [ "${hz:-0}" -gt 900 ] && [ "${hz:-0}" -lt 1100 ]; check $? "recorded tone is about 1000 Hz (${hz:-none})"
python3 "$here/lib/msrp_echo.py" "$TESTBED_ADDR" "$ECHO_SIP_PORT" "$ECHO_MSRP_PORT" 1004 "$PBX_PASSWORD" "$PBX_SIP_PORT" >"$TESTBED_RUN/echo.log" 2>&1 & pids="$pids $!"
for _ in $(seq 1 30); do grep -q ready "$TESTBED_RUN/echo.log" && break; sleep 0.1; done
grep -q 'SIP/2.0 200' "$TESTBED_RUN/echo.log"; check $? "MSRP echo agent registers"
echo "$good passed, $bad failed"
[ "$bad" = 0 ]
