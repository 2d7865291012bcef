#!/bin/sh
# Prints the path of a protobuf compiler, which the build of etcd's client crate runs: $PROTOC or a protoc on the
# PATH if there is one, else protox, which is built from crates.io into target, once.
set -eu
cd "$(dirname "$0")/.."

version=0.10.0
root=target/protox-$version
ours=$root/bin/protox

if [ -n "${PROTOC:-}" ]; then
	command -v "$PROTOC" && exit 0
	echo "protoc: PROTOC is set to '$PROTOC', which is no program; unset it, or set it to one." >&2
	exit 1
fi
command -v protoc && exit 0

if [ ! -x "$ours" ]; then
	echo "protoc: no protoc on the PATH; building protox $version from crates.io, which does its work, into $root" >&2
	cargo install --quiet --locked --debug --root "$root" --features bin --version "$version" protox >&2 || {
		echo "protoc: protox could not be built; see above. Any protoc on the PATH will do instead: on Debian 'apt-get install protobuf-compiler'." >&2
		exit 1
	}
fi
echo "$PWD/$ours"
