# What people type; .ci/run types the same.
LINT := bin/golangci-lint

.PHONY: test lint bench

test:
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	go vet ./...
	go test -race ./...

$(LINT): tools/go.mod tools/go.sum
	cd tools && go build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: $(LINT)
	$(LINT) run ./...

bench:
	cd bench && go run . -short all
