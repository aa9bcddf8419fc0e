# What people type. What CI runs is in .ci/run.
LINT := bin/golangci-lint

.PHONY: test lint bench peers

test:
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	go vet ./...
	go test -race ./...

$(LINT): tools/go.mod tools/go.sum
	cd tools && go build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: $(LINT)
	$(LINT) run ./...

# Proves in a few minutes that the benchmarks run.
bench:
	cd bench && go run . -short all

# One benchmark in full, as in make bench-b4 (effects), bench-b5 (steps, against
# peers) or bench-b7 (verify): a table, and results in bench/results. ARGS are flags,
# as in ARGS="-rounds 3". make bench-report writes docs/performance.md from them.
bench-%:
	cd bench && go run . $(ARGS) $*

# The programs that bench-b5 builds and compares Weir with: a module of their own,
# which takes minutes of both cores to build the first time and is not part of CI.
peers:
	cd bench/peers && go vet ./... && go test ./...
