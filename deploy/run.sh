#!/usr/bin/env bash
# deploy/run.sh [ARGUMENT ...]: from a fresh checkout to a running gateway on Debian 12 with Rust.
#
# Installs the build tools that are missing, builds in release, starts target/release/trunkgate with the ARGUMENTs
# (as in: deploy/run.sh --set signaling.ws=:9080; deploy/run.sh --help tells all). Run again it takes a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the build needs of the system: C and C++ compilers for the cryptography, cmake for Opus.
needed=(gcc g++ make cmake pkg-config)
packages=(gcc g++ make cmake pkg-config)

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

root=()
if [ "$(id -u)" != 0 ]; then root=(sudo); fi

missing=()
for i in "${!needed[@]}"; do command -v "${needed[$i]}" >/dev/null || missing+=("${packages[$i]}"); done
if [ "${#missing[@]}" -gt 0 ]; then
	command -v apt-get >/dev/null ||
		die "These programs are missing: ${missing[*]}. This is no Debian, so please install them and run me again."
	if [ "${#root[@]}" -gt 0 ] && ! command -v sudo >/dev/null; then
		die "These packages are missing: ${missing[*]}. Install them as root (apt-get install ${missing[*]}) and run me again."
	fi
	say "Installing ${missing[*]}"
	apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
	"${apt[@]}" update >&2 || say "The package lists could not be renewed; trying with the old ones."
	"${apt[@]}" install --no-install-recommends "${missing[@]}" >&2 ||
		die "The packages could not be installed; apt says why above."
fi

if ! command -v cargo >/dev/null; then
	[ -x "$HOME/.cargo/bin/cargo" ] || die "Rust is not installed: there is no cargo. Install Rust 1.95 or newer and run me again."
	PATH=$HOME/.cargo/bin:$PATH
fi

binary=${CARGO_TARGET_DIR:-target}/release/trunkgate
[ -x "$binary" ] || say "Building Trunkgate: some minutes the first time, seconds after that"
cargo build --release --locked -p gateway || die "The build failed; the compiler says why above."

case ${1:-} in
run | check-config | --help | -h | --version | -V) ;;
*) set -- run "$@" ;;
esac
# Each browser is a descriptor and each call two; the usual soft limit of 1,024 is soon used up.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
exec "$binary" "$@"
