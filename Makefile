# make test        every test of every module, with the race detector (SHORT=1: the short
#                  ones, without it)
# make test-extra  the tests that need more programs than make test does
# make campaign    the part of it that changes a log's files: 120,000 changes, every byte, 2,000 honest logs
# make soak        long campaigns; SEED=n repeats the one that printed it
# make test-busy   make test beside eight busy processes
# make test-386    the root module's short tests as a 32-bit program
# make installable each module installs from a release of the work tree
# make compatible  the work tree against the newest release: API and format
# make release     VERSION=v0.1.0 makes the release commit and its tags
# make test-gates  shows that the gates fail on planted faults
# make stats       files, lengths, names and the reading order of the root
# make lint        every other gate; make -k lint goes on after a failing one
# make bench       every benchmark (BENCH=regexp, BENCHTIME=1s)
# make screenshots the pictures in docs/images, of the pages of webui
# make fuzz        every fuzz target for FUZZTIME (10s) each
# make work        a go.work over all modules, for editors; git ignores it

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK ?= golang.org/x/vuln/cmd/govulncheck@v1.8.0
BENCH       ?= .
BENCHTIME   ?= 1s
FUZZTIME    ?= 10s

# In every module of the repository:
testall = $(GO) run ./internal/tools/testall
each    = $(testall) --

# The race detector needs cgo, and so a C compiler; without one go env says 0. The
# short tests do without it: on a machine that has compiled nothing yet, all of the
# libraries again for it would take longer than the tests.
race = $(if $(SHORT),,$(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race))

# Machines that our code is compiled for, beside this one.
PLATFORMS ?= linux/386 linux/arm linux/s390x windows/amd64 darwin/arm64

# go test's own limit is for hanging tests: on a slow machine the suite of one
# package may take many times what it takes here.
TIMEOUT ?= 60m

# A program with the race detector sleeps for a second before it exits, unless told
# otherwise, in case a goroutine has yet to race. Tests wait for their goroutines.
export GORACE ?= atexit_sleep_ms=100

.PHONY: screenshots test test-extra extras campaign soak test-busy test-386 installable compatible release stats test-gates lint bench fuzz work servers
.PHONY: fmt vet platforms fix tidy staticcheck vuln

# -count=1: go test's cache does not notice changed files outside a module, such
# as the golden events that internal/tools/schematest reads. -vet=off: make vet
# does more, and go test's part of it would compile for longer. Package
# internal/tools/size tells the tests in which of these they run.
test: $(if $(SHORT),,servers)
	@$(if $(race)$(SHORT),:,echo "make test: no C compiler found, so the tests run without the race detector")
	$(testall) -vet=off -count=1 -timeout $(TIMEOUT) $(race) $(if $(SHORT),-short) $(TESTFLAGS)
	@$(if $(TESTFLAGS),:,$(if $(race),$(changes)))

# 3,000 changes of a log's files from a fixed seed, with what became of each kind: the race
# detector would take eight times as long for them.
changes = $(GO) test -vet=off -count=1 -timeout $(TIMEOUT) -v -run '^TestEveryChangeIsFoundOrOfAKnownClass$$' ./sink/filesink

# What only the extra tests need.
extras:
	@missing=; \
	command -v softhsm2-util >/dev/null || missing="$$missing softhsm2"; \
	command -v cron >/dev/null || missing="$$missing cron"; \
	command -v pgbouncer >/dev/null || missing="$$missing pgbouncer"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v python3 >/dev/null || missing="$$missing python3"; \
	command -v lognormalizer >/dev/null || missing="$$missing liblognorm-utils"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else \
		echo "make $(MAKECMDGOALS): install the packages$$missing" >&2; exit 1; \
	fi
	for tool in zod axe; do (cd internal/tools/$$tool && npm ci --no-audit --no-fund --silent) || exit 1; done

test-extra: servers extras
	EXTRA=1 $(testall) -vet=off -count=1 -timeout $(TIMEOUT) $(race) -run '^(Test|Fuzz)Extra' $(TESTFLAGS)

screenshots: extras
	dir=$$(mktemp -d) && SHOTS=$$dir EXTRA=1 $(GO) test -count=1 -run '^TestExtraThePagesFitPhonesAndWideScreens$$' ./webui && \
	for shot in jobs-light-1280 job-light-1280 log-dark-1280 running-dark-390; do cp $$dir/$$shot.png docs/images/; done && rm -r $$dir

campaign:
	SOAK=1 $(GO) test -count=1 -timeout 0 -v -run '^TestSoak(Campaign|EveryByte|HonestLogs)$$' $(TESTFLAGS) ./sink/filesink

soak: servers
	SOAK=1 $(testall) -count=1 -timeout 0 $(race) -v -run '^TestSoak' $(TESTFLAGS)

test-busy:
	.ci/busy $(MAKE) --no-print-directory test

# A 32-bit program has no race detector, and runs on 64-bit processors of its kind.
test-386:
	@[ "$$($(GO) env GOARCH)" = amd64 ] || { echo "make $@: needs an amd64 machine" >&2; exit 1; }
	GOARCH=386 CGO_ENABLED=0 $(GO) test -count=1 -timeout $(TIMEOUT) -short $(TESTFLAGS) \
		$$($(GO) list ./... | grep -v -e /internal/tools/ -e /examples/)

installable compatible:
	$(GO) run ./internal/tools/release $@

release:
	@[ -n "$(VERSION)" ] || { echo "make release: say which, for example VERSION=v0.1.0" >&2; exit 2; }
	$(GO) run ./internal/tools/release commit $(VERSION)

test-gates:
	.ci/test-gates

stats:
	@$(GO) run ./internal/tools/stats

bench: servers
	$(testall) -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem $(TESTFLAGS)

fuzz:
	EXTRA=1 $(testall) -fuzz . -fuzztime $(FUZZTIME) $(TESTFLAGS)

# The servers that tests start for themselves. Root installs what is missing with
# apt; anybody else is told what to install.
servers:
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else \
		echo "make $(MAKECMDGOALS): install the packages$$missing, or leave their tests out with SHORT=1" >&2; exit 1; \
	fi

work:
	rm -f go.work go.work.sum
	$(GO) work init $$($(each) $(GO) list -m -f '{{.Dir}}')

lint: fmt vet platforms fix tidy staticcheck vuln

# todo prints, when a gate fails, what to do about it.
todo = || { echo "make $@: $(1)" >&2; exit 1; }

fmt:
	@echo "gate fmt: gofmt changes nothing"
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && [ -z "$$files" ] \
		$(call todo,run 'gofmt -w' on: $$files)

vet:
	@echo "gate vet: go vet finds nothing"
	@$(each) $(GO) vet ./... $(call todo,correct what go vet reports above)

# The modules in internal/tools run on this machine only, beside others' parsers and
# servers that take minutes to compile.
platforms:
	@for platform in $(PLATFORMS); do \
		echo "gate platforms: go vet finds nothing for $$platform"; \
		$(each) env GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 \
			sh -c 'case $$PWD in */internal/tools/*) ;; *) exec $(GO) vet ./...;; esac' || exit 1; \
	done $(call todo,correct what does not compile for the platform named last)

fix:
	@echo "gate fix: go fix would change nothing"
	@$(each) $(GO) fix -diff ./... $(call todo,run 'go fix ./...' in the modules named above)

tidy:
	@echo "gate tidy: every go.mod and go.sum is tidy"
	@$(each) $(GO) mod tidy -diff $(call todo,run 'go mod tidy' in the modules named above)

staticcheck:
	@echo "gate staticcheck: $(STATICCHECK) finds nothing"
	@$(each) $(GO) run $(STATICCHECK) ./... $(call todo,correct what staticcheck reports above)

vuln:
	@echo "gate vuln: $(GOVULNCHECK) finds no known vulnerability that our code reaches"
	@$(each) bash "$(CURDIR)/.ci/vuln" $(GO) run $(GOVULNCHECK) ./... \
		$(call todo,update the dependencies (or Go) that govulncheck names above)
