#!/bin/sh
# Everything that must hold before a change lands. `make test` calls it, after `make tools`.
set -eu
cd "$(dirname "$0")/.."

PATH="$PWD/target/tools/bin:$PATH"
export PATH

# The build of etcd's client runs it.
PROTOC=$(sh scripts/protoc.sh)
export PROTOC

step() {
	echo
	echo "== $1"
}

# logged LOG COMMAND...: runs it, shows its output and keeps it, and fails as it does.
logged() {
	log=$1
	shift
	{ "$@" 2>&1 && echo ok >"$log.status" || echo failed >"$log.status"; } | tee "$log"
	[ "$(cat "$log.status")" = ok ]
}

step "format"
cargo fmt --all -- --check

step "contract (buf lint)"
buf lint

step "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings

step "release build, without a warning"
# The programs alone: the simulation would build them with the clock of tests.
logged target/release-build.log cargo build --locked --release -p parlour -p parlour-lab
if grep -n '^warning' target/release-build.log; then
	echo "The release build warns; see above." >&2
	exit 1
fi

step "tests"
passed=true
logged target/test.log cargo test --locked --workspace --no-fail-fast || passed=false

# One sum over all test programs, doc tests among them.
awk '/^test result:/ { passed += $4; failed += $6 } END { printf "\n%d passed, %d failed\n", passed, failed }' target/test.log
$passed
