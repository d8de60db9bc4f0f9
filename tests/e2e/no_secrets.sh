#!/usr/bin/env bash
# no_secrets.sh FOLDER: looks for secrets in all that the gateways of a run wrote (FOLDER as in E2E_RUN).
# FOLDER/secrets has the run's passwords, tokens and ICE passwords, one a line; and no line may hold the value of an
# Authorization header, an ICE password or an SDES key, whosever it is. Exit status 0: none found.
# no_secrets.sh --self-test: proves that each kind is found where it is planted.
set -uo pipefail

# A digest's response, an ICE password, an SDES key, a password field of the JSON protocol.
patterns='[Aa]uthorization:[^|]*(response=|[Bb]asic [A-Za-z0-9+/=]|[Bb]earer )|a=ice-pwd:[^ ]{8}|a=crypto:.*inline:[A-Za-z0-9+/]{8}|"(sipPassword|password|authToken)":"[^"*]'

search() {
	local folder=$1 found=0
	local logs=()
	while IFS= read -r f; do logs+=("$f"); done < <(find "$folder" -path '*gateway*' -type f -name '*.log' 2>/dev/null)
	[ "${#logs[@]}" -gt 0 ] || { echo "no gateway wrote anything in $folder: nothing was checked"; return 1; }
	[ -s "$folder/secrets" ] || { echo "$folder/secrets is missing or empty: nothing was checked"; return 1; }
	# Everything the gateways wrote, their data too; values are never printed, only where they are. The file of
	# applications is where their secrets are kept: it must be its owner's alone.
	local written=()
	while IFS= read -r f; do written+=("$f"); done < <(find "$folder" -path '*gateway*' -type f ! -path '*/data/apps.toml' 2>/dev/null)
	local hits
	hits=$(find "$folder" -path '*/data/apps.toml*' ! -perm 600)
	[ -z "$hits" ] || { echo "others may read:"; sed 's/^/  /' <<<"$hits"; found=1; }
	hits=$(grep -aFHn -f "$folder/secrets" -- "${written[@]}" | cut -d: -f1,2)
	[ -z "$hits" ] || { echo "a secret of this run stands in:"; sed 's/^/  /' <<<"$hits" | head -20; found=1; }
	hits=$(grep -aEHn -- "$patterns" "${logs[@]}" | cut -d: -f1,2)
	[ -z "$hits" ] || { echo "a secret by its form stands in:"; sed 's/^/  /' <<<"$hits" | head -20; found=1; }
	[ "$found" = 0 ] && echo "${#written[@]} files, $(sort -u "$folder/secrets" | wc -l) secrets: none found"
	return "$found"
}

self_test() {
	local folder bad=0
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' RETURN
	mkdir -p "$folder/gateway-x"
	echo "Planted0Secret" >"$folder/secrets"
	local clean='INFO REGISTER sent to 127.0.0.1, Authorization: (left out)'
	echo "$clean" >"$folder/gateway-x/stderr.log"
	search "$folder" >/dev/null || { echo "a clean log was taken for a leaking one"; bad=1; }
	local line
	for line in 'password is Planted0Secret!' 'Authorization: Digest username="a", response="0123"' 'Proxy-Authorization: Digest response=0123' \
		'a=ice-pwd:0123456789abcdefghijklmn' 'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcdefgh12345678' '{"sipPassword":"x"}'; do
		printf '%s\n%s\n' "$clean" "$line" >"$folder/gateway-x/stderr.log"
		search "$folder" >/dev/null && { echo "not found: $line"; bad=1; }
	done
	echo "$clean" >"$folder/gateway-x/stderr.log"
	mkdir "$folder/gateway-x/data"
	echo 'Planted0Secret' >"$folder/gateway-x/data/apps.toml"
	chmod 600 "$folder/gateway-x/data/apps.toml"
	search "$folder" >/dev/null || { echo "a secret where it is kept was taken for a leaking one"; bad=1; }
	chmod 644 "$folder/gateway-x/data/apps.toml"
	search "$folder" >/dev/null && { echo "not found: applications that others may read"; bad=1; }
	rm "$folder/gateway-x/stderr.log"
	search "$folder" >/dev/null && { echo "a run without logs passed"; bad=1; }
	return "$bad"
}

case ${1:-} in
--self-test) self_test ;;
"") echo "usage: no_secrets.sh FOLDER | --self-test" >&2; exit 2 ;;
*) search "$1" ;;
esac
