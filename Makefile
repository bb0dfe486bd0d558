# coffer: `make run` starts a server, `make test` runs every test. Both need Go alone; see CONTRIBUTING.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The version is that of the last tag, such as v0.1.0; commits after it show.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null | sed 's/^v//' | grep . || echo 0.1.0-dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null | grep . || echo 1970-01-01T00:00:00Z)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
BUILD   := go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# The linter is built once for each version of itself and of Go.
CACHE = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coffer
LINT  = $(CACHE)/golangci-lint-$(shell { cat tools/go.mod; go env GOVERSION; } | cksum | cut -d' ' -f1)

# What the quick tests are, and what starts real servers.
UNIT      = $(shell go list ./... | grep -v /api-tests)
BLACK_BOX = ./api-tests/...
# The race detector needs a C compiler; a machine with only Go tests without it.
RACE      = $(shell command -v "$$(go env CC | cut -d' ' -f1)" >/dev/null && [ "$$(go env CGO_ENABLED)" = 1 ] && echo -race)

.PHONY: help
help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

.PHONY: run
run: build ## Starts a server on 127.0.0.1:8200 that keeps its data in .coffer/.
	@scripts/run

.PHONY: build
build: ## Builds bin/coffer.
	@CGO_ENABLED=0 $(BUILD) -o bin/coffer ./cmd/coffer

.PHONY: check
check: format vet lint unit ## The quick inner loop: format, vet, lint, unit tests.

.PHONY: test
test: format vet lint race fuzz black-box ## Every test; minutes when cold.

.PHONY: bench
bench: ## Measures coffer, Vault and a bare handler side by side.
	go run ./api-tests/bench

.PHONY: release
release: ## Builds dist/ for linux/amd64 and linux/arm64.
	@rm -rf dist && mkdir -p dist
	@for arch in amd64 arm64; do \
		echo "coffer $(VERSION) linux/$$arch"; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(BUILD) -o "dist/coffer_$(VERSION)_linux_$$arch" ./cmd/coffer; \
	done
	@cd dist && sha256sum coffer_* > SHA256SUMS

.PHONY: clean
clean: ## Removes what was built; keeps the data of `make run`.
	rm -rf bin dist

# The parts of check and test.

.PHONY: format
format:
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	go vet ./...

.PHONY: lint
lint: $(LINT)
	"$(LINT)" run --allow-parallel-runners ./...

.PHONY: unit
unit:
	go test $(UNIT)

.PHONY: race
race:
	go test $(RACE) $(UNIT)

.PHONY: fuzz
fuzz:
	@scripts/fuzz 1000x

.PHONY: stock
stock: ## Builds the programs that the black-box tests run; minutes, once.
	@go run ./api-tests/stock

.PHONY: black-box
black-box: stock
	go test -timeout 60m $(BLACK_BOX)

$(LINT):
	@echo "building golangci-lint (once)"
	@mkdir -p "$(CACHE)"
	@go build -C tools -trimpath -ldflags '-s -w' -o "$@.$$$$" github.com/golangci/golangci-lint/v2/cmd/golangci-lint \
		&& mv "$@.$$$$" "$@"
