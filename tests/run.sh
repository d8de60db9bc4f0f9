#!/usr/bin/env bash
# tests/run.sh [GROUP ...]: installs what the tests need, runs them, ends with one tally.
#
#   install   packages, the browsers' side (npm), the other peers' side (a Python venv)
#   rust      formatting, lints, all tests of the workspace, doc tests, the cryptography that must not be there
#   claims    every test that claims.tsv names exists
#   fuzz      each fuzz target, a short fixed count
#   e2e       the real binary with browsers, Kamailio and phones
#   long      soaks; never by default
#
# Without a GROUP all but `long`. TRUNKGATE_BIN: test this binary instead of building one. TESTS_RUN: the folder for
# logs and recordings, kept; without it a new one that goes when all has passed. A peer that cannot be had is named and
# fails the run at its end, the rest still runs. Exit status 0: nothing failed.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
passed=0 failed=0 child= failures=()
kept=${TESTS_RUN:+yes}
run=${TESTS_RUN:-$(mktemp -d "${TMPDIR:-/tmp}/trunkgate-tests.XXXXXX")}
mkdir -p "$run"

# Only what this script started is ended, by its process id.
stop() {
	trap - INT TERM HUP
	if [ -n "$child" ]; then
		kill -TERM "$child" 2>/dev/null
		wait "$child" 2>/dev/null
	fi
	echo "# stopped"
	exit 130
}
trap stop INT TERM HUP

# Runs a command in the background and waits, so that a signal reaches us at once.
attend() {
	"$@" &
	child=$!
	wait "$child"
	local rc=$?
	child=
	return "$rc"
}

good() { passed=$((passed + 1)); echo "ok - $1"; }
bad() { failed=$((failed + 1)); failures+=("$1"); echo "not ok - $1"; }

# step "SENTENCE" COMMAND...: one test; what it printed is shown when it fails.
step() {
	local name=$1 log rc; shift
	log=$run/step-$((passed + failed)).log
	attend "$@" >"$log" 2>&1 </dev/null
	rc=$?
	if [ "$rc" = 0 ]; then good "$name"; else bad "$name"; tail -60 "$log" | sed 's/^/#   /'; fi
	return "$rc"
}

# counted "SENTENCE" COMMAND...: a runner of many tests, shown as it goes; its own tally is added to ours.
counted() {
	local name=$1 log rc p f; shift
	log=$run/counted-$((passed + failed)).log
	attend "$@" > >(tee "$log") 2>&1 </dev/null
	rc=$?
	sleep 0.2 # tee's last words
	read -r p f < <(tally "$log")
	passed=$((passed + p)) failed=$((failed + f))
	[ "$f" = 0 ] || failures+=("$name: $f failed")
	if [ "$rc" != 0 ] && [ "$f" = 0 ]; then bad "$name (exit status $rc)"; fi
	if [ "$rc" = 0 ] && [ "$p" = 0 ]; then bad "$name ran no test"; fi
	return "$rc"
}

# "PASSED FAILED" of a log: of nextest, cargo test, node's runner, or a line "N passed, N failed".
tally() {
	python3 - "$1" <<'PY'
import re, sys
text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], errors="replace").read())
p = f = 0
for m in re.finditer(r"^\s*Summary \[[^\]]*\].*$", text, re.M):
    for n, what in re.findall(r"(\d+) (passed|failed|timed out)", m[0]):
        p, f = (p + int(n), f) if what == "passed" else (p, f + int(n))
for a, b in re.findall(r"^test result: .*?(\d+) passed; (\d+) failed", text, re.M):
    p, f = p + int(a), f + int(b)
for a, b in re.findall(r"^(\d+) passed, (\d+) failed", text, re.M):
    p, f = p + int(a), f + int(b)
for a, b in re.findall(r"^# pass (\d+)\n# fail (\d+)", text, re.M):
    p, f = p + int(a), f + int(b)
print(p, f)
PY
}

# ---- install -------------------------------------------------------------------------------------------------------

APT=(
	build-essential cmake pkg-config git curl python3 python3-venv iproute2 util-linux procps
	kamailio kamailio-tls-modules kamailio-sqlite-modules kamailio-presence-modules kamailio-xml-modules
	kamailio-extra-modules kamailio-utils-modules kamailio-websocket-modules sqlite3 openssl
	baresip-core baresip-ffmpeg sox sip-tester sipvicious tshark chromium firefox-esr pulseaudio fonts-dejavu-core
)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
have() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }

group_install() {
	local missing=() p
	local wanted=("${APT[@]}")
	command -v node >/dev/null && command -v npm >/dev/null || wanted+=(nodejs npm)
	for p in "${wanted[@]}"; do have "$p" || missing+=("$p"); done
	if [ "${#missing[@]}" -gt 0 ]; then
		echo "# installing ${missing[*]}"
		apt_install "${missing[@]}"
		for p in "${missing[@]}"; do have "$p" || bad "the package $p could not be had"; done
	fi
	command -v cargo >/dev/null || bad "cargo is not there: Rust must be installed first"
	step "the browsers' side is installed as its lock file says" npm_ci
	step "the browsers' lock file names no host" bash -c '! grep -q "\"resolved\": \"http" tests/browser/package-lock.json'
	step "the Python peers are installed" venv
	step "the test bed works on this machine" env -u TESTBED_RUN bash tests/bed/smoke.sh
}

apt_install() {
	# The test bed starts its peers by itself: packages must not start services of their own, now or at the next boot.
	local policy=/usr/sbin/policy-rc.d mine=
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod +x "$policy" && mine=yes
	fi
	local new_kamailio=; have kamailio || new_kamailio=yes
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300)
	attend as_root "${apt[@]}" update >"$run/apt.log" 2>&1
	if ! attend as_root "${apt[@]}" install --no-install-recommends "$@" >>"$run/apt.log" 2>&1; then
		local one
		for one in "$@"; do have "$one" || attend as_root "${apt[@]}" install --no-install-recommends "$one" >>"$run/apt.log" 2>&1; done
	fi
	[ -n "$mine" ] && as_root rm -f "$policy"
	[ -n "$new_kamailio" ] && command -v systemctl >/dev/null && as_root systemctl disable kamailio >/dev/null 2>&1
	return 0
}

npm_ci() {
	cd tests/browser || return 1
	[ node_modules/.package-lock.json -nt package-lock.json ] && return 0
	npm ci --no-audit --no-fund && touch node_modules/.package-lock.json
}

venv() {
	cd tests/peers || return 1
	cmp -s requirements.txt .venv/installed && return 0
	# Debian's own, where there is one: a Python of a version manager may lack what venv needs.
	local python=python3
	[ -x /usr/bin/python3 ] && python=/usr/bin/python3
	"$python" -m venv .venv && .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt && cp requirements.txt .venv/installed
}

# ---- rust ----------------------------------------------------------------------------------------------------------

group_rust() {
	step "the code is formatted" cargo fmt --all --check
	step "clippy has no complaint" cargo clippy --workspace --all-targets --locked -- -D warnings
	if cargo nextest --version >/dev/null 2>&1; then
		counted "the tests of the workspace" cargo nextest run --workspace --locked --no-fail-fast --hide-progress-bar --status-level fail --final-status-level fail
	else
		counted "the tests of the workspace" cargo test --workspace --locked --no-fail-fast --all-targets
	fi
	step "the doc tests pass" cargo test --workspace --locked --doc
	step "ring is not in the tree" no_ring
	step "the relay benchmark still compiles" cargo check --quiet --locked --manifest-path benches/relay/Cargo.toml --target-dir target
	step "the SIP benchmark still compiles" cargo check --quiet --locked --manifest-path benches/sip/Cargo.toml --target-dir target
}

# cargo says "did not match any packages" when all is well; anything it prints of ring is a way in.
no_ring() {
	local out
	out=$(cargo tree -i ring --workspace -e normal 2>&1)
	if grep -q '^ring v' <<<"$out"; then echo "$out"; return 1; fi
	grep -qE 'did not match any packages|nothing to print' <<<"$out" || { echo "$out"; return 1; }
}

# ---- claims, fuzz --------------------------------------------------------------------------------------------------

group_claims() {
	step "the documents name what is there, and README its two commands first" python3 tests/docs.py
	step "the table of claims in signaling/README.md is up to date" python3 tests/claims_table.py --check
	if [ -f tests/claims.tsv ]; then counted "every test that claims.tsv names exists" python3 tests/claims.py; else bad "tests/claims.tsv is not there"; fi
}

group_fuzz() {
	if [ ! -f tests/fuzz/Cargo.toml ]; then
		bad "tests/fuzz is not there"
		return
	fi
	step "the fuzz driver works" cargo test --quiet --release --manifest-path tests/fuzz/Cargo.toml
	step "no fuzz target finds anything in 20,000 inputs" cargo run --quiet --release --manifest-path tests/fuzz/Cargo.toml -- --runs "${FUZZ_RUNS:-20000}" --seed 1
}

# ---- e2e -----------------------------------------------------------------------------------------------------------

binary() {
	[ -n "${TRUNKGATE_BIN:-}" ] && return 0
	step "the binary builds" cargo build --locked -p gateway || return 1
	TRUNKGATE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/trunkgate
	export TRUNKGATE_BIN
}

measure_tests() { node --test --test-reporter=tap tests/measure | grep -E '^(not )?ok |^ +error:|^# (pass|fail) '; }

group_e2e() {
	counted "the measuring tool is right" measure_tests
	step "the JSON client of the tests is right" tests/peers/.venv/bin/python tests/peers/json_client_test.py
	step "the search for secrets finds what is planted" tests/e2e/no_secrets.sh --self-test
	binary || { bad "the end-to-end tests have no binary"; return; }
	counted "end to end" env E2E_RUN="$run/e2e" node tests/e2e/run.mjs
	if [ "$(id -u)" = 0 ]; then
		counted "end to end in a namespace" env E2E_RUN="$run/namespace" tests/e2e/namespace.sh node tests/e2e/run.mjs firefox torture
	else
		bad "the tests with Firefox and with the torture messages need root, for a network namespace"
	fi
	local folder
	for folder in "$run/e2e" "$run/namespace"; do
		[ -d "$folder" ] && step "no secret stands in anything that the gateways wrote" tests/e2e/no_secrets.sh "$folder"
	done
}

group_long() {
	step "deploy/run.sh installs what is missing and builds the program" deploy/run.sh --version
	# What users run: a debug build bears a tenth of the load.
	: "${TRUNKGATE_BIN:=${CARGO_TARGET_DIR:-$root/target}/release/trunkgate}"
	export TRUNKGATE_BIN
	step "svwar finds no user and svcrack no password" env LOAD_RUN="$run/scanners" python3 tests/load/scanners.py
	counted "10,000 phones register and are refreshed" env LOAD_RUN="$run/load" python3 tests/load/registrations.py
	counted "calls at a rate, SIPp to us to SIPp" env LOAD_RUN="$run/load" python3 tests/load/rate.py
	counted "soaks" env E2E_RUN="$run/long" node tests/e2e/run.mjs soak
}

# ---- the run -------------------------------------------------------------------------------------------------------

groups=("$@")
[ "${#groups[@]}" -gt 0 ] || groups=(install rust claims fuzz e2e)
for group in "${groups[@]}"; do
	case $group in install | rust | claims | fuzz | e2e | long) ;; *)
		echo "tests/run.sh: no group \"$group\"; there are: install rust claims fuzz e2e long" >&2
		exit 2
		;;
	esac
done
begun=$SECONDS
for group in "${groups[@]}"; do
	echo "== $group"
	from=$SECONDS
	"group_$group"
	echo "== $group: $((SECONDS - from)) s"
done
echo "== all: $((SECONDS - begun)) s"
for failure in "${failures[@]+"${failures[@]}"}"; do echo "failed: $failure"; done
if [ "$failed" -gt 0 ] || [ -n "$kept" ]; then echo "# what the run wrote is in $run"; else rm -rf "$run"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
