#!/bin/sh
# need.sh COMMAND...: says what is missing, why it is needed and how to get it, and fails if anything is.
set -eu

how_to_get() {
	case $1 in
	cargo) echo "the Rust toolchain, 1.90 or newer: install it with rustup, or your system's packages rustc and cargo" ;;
	cc) echo "a C compiler, which links Rust programs: on Debian 'apt-get install gcc libc6-dev', elsewhere gcc or clang" ;;
	*) echo "install it with your system's package tool" ;;
	esac
}

missing=0
for command in "$@"; do
	if ! command -v "$command" >/dev/null 2>&1; then
		echo "'$command' is not on the PATH. It is needed as $(how_to_get "$command")." >&2
		missing=1
	fi
done
exit $missing
