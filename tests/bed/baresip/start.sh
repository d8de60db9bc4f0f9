#!/usr/bin/env bash
# start.sh NAME   one baresip user agent for the PBX user NAME, with a control port.
#   BARESIP_CTRL_PORT  port of its JSON control (ctl.py)     default: the one of this bed
#   BARESIP_SIP_PORT   port it listens on                    default 0 (any)
#   BARESIP_PLAY       a 8 kHz mono 16-bit WAV file to send; empty: a tone
#   BARESIP_TONE       frequency of the tone in Hz           default 440
#   BARESIP_ANSWER     auto | manual | early                 default auto
#   BARESIP_TRANSPORT  udp | tcp | tls                       default udp
#   BARESIP_MODULES    more modules, blank-separated (opus srtp dtls_srtp ice ...)
#   BARESIP_VIDEO      vp8 | h264: pictures too, 320 by 240 (h264 needs baresip-ffmpeg); what it is shown is saved by
#                      its command "snapshot_recv FILE.png"
#   BARESIP_ACCOUNT    more account parameters, e.g. ";mediaenc=srtp"
# What it hears is in $TESTBED_RUN/baresip-NAME/rec/dump-*-dec.wav, what it sends in *-enc.wav.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/env.sh"
name=$1
RUN=$TESTBED_RUN/baresip-$name
rm -rf "$RUN"; mkdir -p "$RUN/rec"
for d in ${BARESIP_MODULE_PATH:-} /usr/lib/baresip/modules /usr/lib/*/baresip/modules /usr/local/lib/baresip/modules; do
	[ -d "$d" ] && { mods=$d; break; }
done
if [ -n "${BARESIP_PLAY:-}" ]; then
	source="aufile,$(realpath "$BARESIP_PLAY")" srate=8000 channels=1
else
	# ausine of baresip 1.0 makes 48 kHz stereo only; the core resamples it
	source="ausine,${BARESIP_TONE:-440}" srate=48000 channels=2
fi
extra=; for m in ${BARESIP_MODULES:-}; do extra+="module\t\t\t$m.so\n"; done
video= video_codecs=
case ${BARESIP_VIDEO:-} in
	'') ;;
	vp8) video='module vp8.so\nmodule swscale.so\n' video_codecs=';video_codecs=vp8' ;;
	h264) video='module avcodec.so\nmodule swscale.so\n' video_codecs=';video_codecs=h264' ;;
	*) echo "BARESIP_VIDEO is vp8 or h264" >&2; exit 2 ;;
esac
[ -z "$video" ] || video+='module fakevideo.so\nmodule snapshot.so\nvideo_source fakevideo,nil\nvideo_display fakevideo,nil\nvideo_size 320x240\nvideo_fps 20\nvideo_bitrate 300000\n'
[ -e "$mods/swscale.so" ] || video=${video/module swscale.so\\n/}
tr=${BARESIP_TRANSPORT:-udp}
port=$PBX_SIP_PORT; [ "$tr" = tls ] && port=$PBX_SIPS_PORT
sed -e "s|@ADDR@|$TESTBED_ADDR|g" -e "s|@SIP_PORT@|${BARESIP_SIP_PORT:-0}|" -e "s|@SOURCE@|$source|" \
	-e "s|@SRATE@|$srate|" -e "s|@CHANNELS@|$channels|" -e "s|@REC@|$RUN/rec|" -e "s|@MODULES@|$mods|" \
	-e "s|@CTRL_PORT@|$BARESIP_CTRL_PORT|g" -e "s|@RTP_PORTS@|${BARESIP_RTP_PORTS}|" \
	-e "s|@EXTRA_MODULES@|$extra|" -e "s|@VIDEO@|$video|" "$here/config.in" >"$RUN/config"
if [ "$tr" = tls ]; then
	# the PBX connects to its Contact for what it has to tell a caller: that needs a certificate of its own
	cat "$TESTBED_RUN/kamailio/key.pem" "$TESTBED_RUN/kamailio/cert.pem" >"$RUN/tls.pem"
	printf 'sip_cafile\t\t%s\nsip_certificate\t\t%s\n' "$TESTBED_RUN/kamailio/ca.pem" "$RUN/tls.pem" >>"$RUN/config"
fi
cat >"$RUN/accounts" <<A
<sip:$name@$TESTBED_ADDR:$port;transport=$tr>;auth_user=$name;auth_pass=$PBX_PASSWORD;regint=${BARESIP_REGINT:-60};answermode=${BARESIP_ANSWER:-auto};audio_codecs=${BARESIP_CODECS:-PCMU/8000/1,PCMA/8000/1};call_transfer=yes$video_codecs${BARESIP_ACCOUNT:-}
A
: >"$RUN/contacts"
cd "$RUN"
baresip -f "$RUN" ${BARESIP_SIPTRACE:+-s} >"$RUN/baresip.log" 2>&1 </dev/null &
echo $! >"$RUN/pid"
python3 "$here/ctl.py" --port "$BARESIP_CTRL_PORT" --addr "$TESTBED_ADDR" --log "$RUN/baresip.log" wait-registered 10 || { tail -20 "$RUN/baresip.log" >&2; exit 1; }
