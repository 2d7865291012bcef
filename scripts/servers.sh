#!/bin/sh
# Sees to it that the servers of a cluster are installed: etcd and PostgreSQL, as Debian's packages where we are root.
# A cluster of ours starts members of its own; none that a package starts is used.
set -eu

fail() {
	echo "servers: $1" >&2
	exit 1
}

# install PACKAGE...: if we may; whether it is there then is for the caller to see.
install() {
	if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
		echo "servers: installing Debian's $*"
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null; } || true
	fi
}

has_etcd() {
	command -v etcd >/dev/null 2>&1 && command -v etcdctl >/dev/null 2>&1
}

has_postgres() {
	command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
}

has_etcd || install etcd-server etcd-client
has_etcd || fail "etcd and etcdctl are not on the PATH. On Debian: 'apt-get install etcd-server etcd-client'."

if ! has_postgres; then
	# Where the package comes from us it makes no database of its own.
	if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		mkdir -p /etc/postgresql-common
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	fi
	install postgresql
fi
has_postgres || fail "PostgreSQL's initdb is neither on the PATH nor under /usr/lib/postgresql. On Debian: 'apt-get install postgresql'."

# Children that end with their parent, and another user than root for PostgreSQL.
command -v setpriv >/dev/null 2>&1 || install util-linux
command -v setpriv >/dev/null 2>&1 || fail "setpriv is missing. On Debian: 'apt-get install util-linux'."
