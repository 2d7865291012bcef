#!/bin/sh
# lab.sh up|demo|attack [FLAGS]: builds the program and a cluster of it on this machine, and runs that.
set -eu
cd "$(dirname "$0")/.."

PROTOC=$(sh scripts/protoc.sh)
export PROTOC
cargo build --locked --release -p parlour -p parlour-lab
exec target/release/parlour-lab "$@"
