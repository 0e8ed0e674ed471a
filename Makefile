# remuda: `make demo` to see it, `make test` to check it, `make install` to have it.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
MANDIR ?= $(PREFIX)/share/man
INSTALL ?= install
# How long `make soak` goes on.
SOAK_SECONDS ?= 60

target = $(or $(CARGO_TARGET_DIR),target)
release = $(target)/release
# The programs that remuda takes over from and whose names it understands, each with its page; tini and its like have
# theirs in remuda-init(1).
compat = einhorn einhornsh einhyrningsins einhyrningsinsctl firestarter socketmaster start_server tini docker-init \
         dumb-init catatonit
compat_pages = $(wildcard $(compat:%=man/%.1))
# Pages are named PAGE.SECTION; the section is the directory.
pages = $(filter-out $(compat_pages),$(wildcard man/*.[1-8]))

# The host's triple, for a build that is linked statically: such flags must not reach the programs that run while building.
triple = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: all static test test-servers test-upgrade-from demo bench soak gallery mutants check install install-compat uninstall clean

all:
	$(CARGO) build --release --locked

# One file that needs no library, for images with nothing else in them. It looks up users, groups and hosts in /etc alone.
static:
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --locked --target $(triple)
	@ls -l $(target)/$(triple)/release/remuda

# A test that lacks a tool or a privilege says `skipped: why` and counts as passed; what was skipped is told again at
# the end. (cargo shows what a test says only if it fails or is asked to.) The second run has system calls fail on
# request.
test:
	@mkdir -p $(target)
	@{ $(CARGO) test --locked -- --show-output && \
		$(CARGO) test --locked --features fault --test run_fault --test spawn -- --show-output; \
		echo $$? >$(target)/test.status; } 2>&1 | tee $(target)/test.log
	@grep -a '^skipped: ' $(target)/test.log | sort -u; exit $$(cat $(target)/test.status)

# The servers of README.md's table, each upgraded under load, hurt and stopped.
test-servers: all
	$(CARGO) build --release --locked --example trial
	sh tests/servers/run.sh

demo: all
	$(CARGO) build --release --locked --example demo --example http_worker
	$(release)/examples/demo

# Wants a C compiler that can link statically. BENCH_ROUNDS sets the number of pairs.
bench:
	$(CARGO) bench --locked --bench manager

soak: all
	$(CARGO) build --release --locked --example soak --example http_worker
	$(release)/examples/soak --seconds $(SOAK_SECONDS) --every 5 --reexec 20 --kept-alive 2 --slow '/slow?ms=3000'

# New versions that fail in every way there is, upgraded to under load with fifty workers.
gallery:
	$(CARGO) test --locked --test run_gallery -- --nocapture

# Starts the program of an earlier commit, REV, and has it go over to the present one.
test-upgrade-from:
	sh tests/upgrade_from.sh '$(REV)'

# Breaks the core in known ways, one after the other, and wants the tests to notice each.
mutants:
	sh tests/mutants/run.sh

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(MAKE) test

# Installs what `make all` has built, so that nothing is compiled as root.
install:
	@test -x $(release)/remuda || { echo "run 'make' first" >&2; exit 1; }
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 755 $(release)/remuda $(DESTDIR)$(PREFIX)/bin/remuda
	for page in $(pages); do \
		section=$(DESTDIR)$(MANDIR)/man$${page##*.}; \
		$(INSTALL) -d $$section && $(INSTALL) -m 644 $$page $$section || exit 1; \
	done

# Adds the names of the programs that remuda takes over from, and their pages. One of these programs that is installed
# there already is left alone.
install-compat: install
	for name in $(compat); do \
		link=$(DESTDIR)$(PREFIX)/bin/$$name; \
		if { test -e $$link || test -L $$link; } && test "$$(readlink $$link)" != remuda; then \
			echo "$$link is another program: remove it first" >&2; exit 1; \
		fi; \
		ln -sf remuda $$link || exit 1; \
	done
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 644 $(compat_pages) $(DESTDIR)$(MANDIR)/man1

uninstall:
	for name in $(compat); do \
		link=$(DESTDIR)$(PREFIX)/bin/$$name; \
		if test "$$(readlink $$link)" = remuda; then \
			rm -f $$link || exit 1; \
			case " $(compat_pages) " in \
			*" man/$$name.1 "*) rm -f $(DESTDIR)$(MANDIR)/man1/$$name.1 || exit 1 ;; \
			esac; \
		fi; \
	done
	rm -f $(DESTDIR)$(PREFIX)/bin/remuda
	for page in $(notdir $(pages)); do rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$$page; done

clean:
	$(CARGO) clean
