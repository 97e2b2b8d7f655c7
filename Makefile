# Every command of the project. `make` alone lists them.
#
# Nothing has to be set up first: a command needs the Rust toolchain and a C compiler (SQLite is
# compiled in), says what is missing, and lets cargo do the rest. The demo and the tests share one
# profile, see Cargo.toml. Further flags go into ARGS:
#
#   make demo ARGS="--exit --report r.json"
#   make test ARGS="-p headroom-market"

CARGO ?= cargo
ARGS ?=
ROUNDS ?= 5
SECONDS ?= 2
SCOPE = $(if $(ARGS),$(ARGS),--workspace)
CI_REPORT = target/ci-report.json

.DEFAULT_GOAL := help
.PHONY: help demo sim test lint audit ci bench-dns bench-edge bench-market conformance-edge slow-clients fuzz setup setup-lint

help: ## list the commands
	@echo 'usage: make COMMAND [ARGS="..."]'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-23s %s\n", $$1, $$2 }'

demo: setup ## run the whole way of a slot on this machine, over real sockets (ARGS="--help")
	$(CARGO) run --locked --package headroom --bin headroom -- demo $(ARGS)

sim: setup ## compare controllers in a simulated world (ARGS="--help")
	$(CARGO) run --locked --package headroom --bin headroom -- sim control $(ARGS)

test: setup ## run every test; needs no network and no servers
	$(CARGO) test --locked $(SCOPE)

lint: setup-lint ## check format, lints, documentation and, if cargo-deny is here, dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  echo '$(CARGO) deny --locked check bans licenses sources'; \
	  $(CARGO) deny --locked check bans licenses sources; \
	else \
	  echo 'note: cargo-deny is not installed, so duplicates were not looked for. Banned crates,'; \
	  echo '      licences and sources are checked by "make test" as well (headroom/tests/tidy.rs).'; \
	fi

audit: setup ## ask the RustSec database about the dependencies (network, cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
	  echo 'error: cargo-deny is missing: cargo install --locked cargo-deny' >&2; exit 1; }
	$(CARGO) deny --locked check advisories

ci: ## all that a change must pass: lint, test and one run of the demo
	$(MAKE) lint ARGS=
	$(MAKE) test ARGS=
	@rm -f $(CI_REPORT)
	@# The program that the tests ran: "make demo" would build much of it once more, without what
	@# only tests need of its dependencies.
	$${CARGO_TARGET_DIR:-target}/debug/headroom demo --exit --seconds 70 --report $(CI_REPORT)
	@test -s $(CI_REPORT) || { echo 'error: the demo wrote no $(CI_REPORT)' >&2; exit 1; }
	@echo 'ci: lint, test and demo passed; the report of the demo is $(CI_REPORT)'

conformance-edge: setup ## run the public HTTP caching suite against the edge, nginx and Varnish (network)
	@command -v python3 >/dev/null 2>&1 || { \
	  echo 'error: python3 (3.11 or later) is missing: apt-get install python3' >&2; exit 1; }
	$(CARGO) build --locked --package headroom --bin headroom
	python3 bench/conformance/run.py $(ARGS)

slow-clients: setup ## 10,000 slow clients against the edge and how long honest visitors wait (ARGS=clients)
	$(CARGO) build --locked --package headroom --bin headroom
	services/edge/tests/slow_clients.sh "$${CARGO_TARGET_DIR:-target}/debug/headroom" $(ARGS)

bench-edge: setup ## compare the edge with nginx, HAProxy and Varnish; takes a quarter of an hour
	bench/install.sh nginx:nginx-light haproxy:haproxy varnishd:varnish wrk:wrk \
	  h2load:nghttp2-client openssl:openssl
	$(CARGO) build --release --locked --package headroom --bin headroom
	python3 bench/edge/run.py --rounds $(ROUNDS) --seconds $(SECONDS) \
	  --headroom "$${CARGO_TARGET_DIR:-target}/release/headroom" $(ARGS)

bench-dns: setup ## compare the name server with NSD, Knot DNS, gdnsd and PowerDNS
	bench/install.sh nsd:nsd knotd:knot gdnsd:gdnsd pdns_server:pdns-server dnsperf:dnsperf \
	  strace:strace ldns-signzone:ldnsutils :pdns-backend-bind :knot-module-geoip
	$(CARGO) build --release --locked --package headroom --bin headroom
	python3 bench/dns/run.py --rounds $(ROUNDS) --seconds $(SECONDS) \
	  --headroom "$${CARGO_TARGET_DIR:-target}/release/headroom" $(ARGS)

bench-market: setup ## clear and check a million bids, and re-clear after one more
	@command -v python3 >/dev/null 2>&1 || { \
	  echo 'error: python3 (3.11 or later) is missing: apt-get install python3' >&2; exit 1; }
	$(CARGO) build --release --locked --package headroom --bin headroom
	python3 bench/market/run.py --rounds $(ROUNDS) --cargo $(CARGO) \
	  --headroom "$${CARGO_TARGET_DIR:-target}/release/headroom" $(ARGS)

fuzz: setup ## fuzz what comes from outside, SECONDS for each target (nightly Rust, a C++ compiler)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
	  echo 'error: cargo-fuzz is missing: cargo install --locked cargo-fuzz' >&2; exit 1; }
	@for target in message snapshot options http1; do \
	  seeds=$$target; test $$target = snapshot && seeds=message; \
	  mkdir -p fuzz/corpus/$$target; \
	  $(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$seeds -- \
	    -max_total_time=$(SECONDS) $(ARGS) || exit 1; \
	done

setup:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	  echo 'error: $(CARGO) is missing. Headroom is built with Rust 1.95 or later: install it with' >&2; \
	  echo '       rustup, see https://rustup.rs, and open a new shell.' >&2; exit 1; }
	@command -v "$${CC:-cc}" >/dev/null 2>&1 || { \
	  echo "error: the C compiler $${CC:-cc} is missing. SQLite is compiled in; install one, for example" >&2; \
	  echo '       with "apt-get install gcc libc6-dev", or name yours in CC.' >&2; exit 1; }

setup-lint: setup
	@$(CARGO) fmt --version >/dev/null 2>&1 || { \
	  echo 'error: rustfmt is missing: rustup component add rustfmt' >&2; exit 1; }
	@$(CARGO) clippy --version >/dev/null 2>&1 || { \
	  echo 'error: clippy is missing: rustup component add clippy' >&2; exit 1; }
