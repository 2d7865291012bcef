# What one types in this repository. Recipes longer than a line or two live in scripts/.

.POSIX:
.PHONY: help serve cluster demo attack test tools

ARGS =

help: ## Show this list.
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile

serve: ## Build and start the whole service; no root. ARGS='--listen 127.0.0.1:8081' adds flags.
	@sh scripts/need.sh cargo cc
	PROTOC=$$(sh scripts/protoc.sh) && export PROTOC && cargo run --locked --release -- serve $(ARGS)

cluster: ## Start etcd, PostgreSQL, three room servers and two edges on loopback, and say what to try. Ctrl-C stops all.
	@sh scripts/need.sh cargo cc
	@sh scripts/servers.sh
	@sh scripts/lab.sh up $(ARGS)

demo: ## Redeploy, then kill, every process of a cluster while people talk, and draw what they saw: demo.svg.
	@sh scripts/need.sh cargo cc
	@sh scripts/servers.sh
	@sh scripts/lab.sh demo $(ARGS)

attack: ## Do to a cluster what a seed says. ARGS='--seed 7 --seconds 1800 --clients 1000 --grpc-clients 50'
	@sh scripts/need.sh cargo cc
	@sh scripts/servers.sh
	@sh scripts/lab.sh attack $(ARGS)

test: tools ## Check everything: format, lints, contract, release build, all tests. What CI runs.
	@sh scripts/servers.sh
	@sh scripts/test.sh

tools: ## Install the clients that tests use (buf, grpcurl, protobuf, websockets) into target/tools.
	@sh scripts/need.sh cargo cc
	@sh scripts/tools.sh
