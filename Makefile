# What one types in this repository. Recipes longer than a line or two live in scripts/.

.POSIX:
.PHONY: help serve test tools

ARGS =

help: ## Show this list.
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile

serve: ## Build and start the whole service; no root. ARGS='--listen 127.0.0.1:8081' adds flags.
	@sh scripts/need.sh cargo cc
	PROTOC=$$(sh scripts/protoc.sh) && export PROTOC && cargo run --locked --release -- serve $(ARGS)

test: tools ## Check everything: format, lints, contract, release build, all tests. What CI runs.
	@sh scripts/test.sh

tools: ## Install what tests use: buf, grpcurl, protobuf, websockets into target/tools; etcd and PostgreSQL by apt.
	@sh scripts/need.sh cargo cc
	@sh scripts/tools.sh
