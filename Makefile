# SPDX-License-Identifier: ISC
#
# postern.  `make run` and `make check` do all set-up on a fresh Debian 12.
#
#   all      build/postern                 run         install what is missing, build, postern local run
#   check    everything but the long runs  check-long  and those too
#   asan     build/asan/postern            tsan        build/tsan/postern
#   fuzz     SECONDS=60: every target      bench       what tests/bench/README.md describes
#   install  PREFIX, DESTDIR, SENDMAIL     fmt, clean
#
# Objects go to build/VARIANT/obj; each room is one archive, so that a unit test
# links its own room and those below it and nothing else.

PREFIX  ?= /usr/local
DESTDIR ?=
SECONDS ?= 60
VERSION := 0.1.0
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
PYTHON  := /usr/bin/python3
B       ?= build

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

# ---- what it is made of ---------------------------------------------------

ROOMS         := base mail modules auth queue session setup
base_SRC      := $(wildcard smtpd/base/*.c)
mail_SRC      := $(wildcard smtpd/mail/*.c)
modules_SRC   := $(wildcard modules/*.c modules/*/*.c)
auth_SRC      := $(wildcard auth/*.c)
queue_SRC     := $(wildcard queue/*.c queue/deliver/*.c)
session_SRC   := $(wildcard smtpd/session/*.c)
setup_SRC     := $(wildcard smtpd/setup/*.c smtpd/setup/*/*.c)
UNIT_SRC      := $(shell find tests/unit -name '*_test.c' 2>/dev/null)
UNIT_HELP_SRC := $(filter-out %_test.c,$(wildcard tests/unit/*.c))
FUZZ_SRC      := $(wildcard tests/fuzz/*_fuzz.c)
FUZZ_OF_setup := web_page
SHIM_SRC      := $(wildcard tests/crash/*_shim.c)
TOOL_PARTS    := tests/bench/load_texts.c
TOOL_SRC      := $(filter-out $(TOOL_PARTS),$(wildcard tests/bench/*.c))

# A unit test in tests/unit/ROOM/ links ROOM and what lies below it.
BELOW_base    := base
BELOW_mail    := mail base
BELOW_modules := modules mail base
BELOW_auth    := auth mail base
BELOW_queue   := queue mail base
BELOW_session := session modules auth queue mail base
BELOW_setup   := setup session modules auth queue mail base

LIBS := -lev -lssl -lcrypto -lsasl2 -llmdb -lunbound -lconfuse -lidn2 -ljansson -lcurl -loath -lqrencode -lmicrohttpd \
	-lldns -lpsl -lcrypt -lresolv -lpthread -lm

BUILD_PACKAGES := gcc make libc6-dev libev-dev libssl-dev libsasl2-dev libsasl2-modules liblmdb-dev \
	libunbound-dev dns-root-data libconfuse-dev libidn2-dev libjansson-dev libcurl4-openssl-dev \
	liboath-dev libqrencode-dev libmicrohttpd-dev libcrypt-dev \
	libldns-dev libpsl-dev
# The lines that the playground prints are there to be pasted.
RUN_PACKAGES   := curl swaks libnet-ssleay-perl
TEST_PACKAGES  := clang libclang-rt-14-dev libcmocka-dev python3 python3-pytest python3-yaml python3-dkim \
	python3-dnslib python3-spf python3-nacl swaks libnet-ssleay-perl libauthen-sasl-perl curl gsasl \
	python3-jwt python3-cryptography libio-socket-ssl-perl dovecot-imapd dovecot-lmtpd dovecot-submissiond dovecot-sieve mandoc git \
	procps openssl postfix msmtp mutt git-email sasl2-bin nsd ldnsutils libmailtools-perl \
	knot opendkim-tools libsasl2-modules-sql

# ---- flags ----------------------------------------------------------------

WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
CPPFLAGS += -I. -D_GNU_SOURCE -DPOSTERN_VERSION='"$(VERSION)"'
BASEFLAGS:= -std=c11 $(WARN) -g -fno-omit-frame-pointer -pthread
IS_CLANG := $(findstring clang,$(CC))
HARDEN   := -O2 -fPIE -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE \
	-D_FORTIFY_SOURCE=$(if $(IS_CLANG),2,3)
LINKHARD := -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack

CFLAGS_plain := $(BASEFLAGS) $(HARDEN)
LDFLAGS_plain:= $(LINKHARD) -pthread
# clang, so that the fuzzers are made of the same objects.
CFLAGS_asan  := $(BASEFLAGS) -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -DSANITIZED
LDFLAGS_asan := -fsanitize=address,undefined -pthread
CFLAGS_tsan  := $(BASEFLAGS) -O1 -fPIE -fsanitize=thread -DSANITIZED
LDFLAGS_tsan := -pie -fsanitize=thread -pthread
LDFLAGS_fuzz := -fsanitize=fuzzer,address,undefined -pthread
# Hundreds of test programs are linked: by a quicker linker where there is one (of clang's
# sanitizers gold says a hundred warnings, lld none).  And what a test itself says runs for
# seconds: it is compiled three times as fast as it stands, while our own code is tested as
# it is shipped.
LDFLAGS_units_plain := $(if $(wildcard /usr/bin/ld.gold),-fuse-ld=gold)
LDFLAGS_units_tsan  := $(LDFLAGS_units_plain)
LDFLAGS_units_asan  := $(if $(wildcard /usr/bin/ld.lld),-fuse-ld=lld)
CFLAGS_units        := -O0 -U_FORTIFY_SOURCE

# ---- rules, once for each variant: $(1) its folder, $(2) its name, $(3) compiler

define VARIANT
$(1)/obj/%.o: %.c | $(B)/packages.stamp
	@mkdir -p $$(@D)
	$$(Q)$(3) $$(CPPFLAGS) $$(CFLAGS_$(2)) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
$(foreach r,$(ROOMS),$(call ROOM,$(1),$(r)))
$(1)/postern: $(1)/obj/smtpd/postern.o $(foreach r,$(BELOW_setup),$(1)/lib$(r).a)
	$$(Q)$(3) $$(LDFLAGS_$(2)) $$(LDFLAGS) -o $$@ $$^ $(LIBS)
$(foreach r,$(ROOMS),$(call UNITS,$(1),$(2),$(3),$(r)))
$(1)/obj/tests/unit/%.o: CFLAGS += $$(CFLAGS_units)
-include $$(shell find $(1)/obj -name '*.d' 2>/dev/null)
endef

# A new archive each time, so that a removed source leaves no object behind.
define ROOM
$(1)/lib$(2).a: $(patsubst %.c,$(1)/obj/%.o,$($(2)_SRC))
	@mkdir -p $$(@D) && rm -f $$@
	$$(Q)ar crs $$@ $$^

endef

define UNITS
$(1)/tests/unit/$(4)/%: $(1)/obj/tests/unit/$(4)/%.o $(patsubst %.c,$(1)/obj/%.o,$(UNIT_HELP_SRC)) $(foreach l,$(BELOW_$(4)),$(1)/lib$(l).a)
	@mkdir -p $$(@D)
	$$(Q)$(3) $$(LDFLAGS_$(2)) $$(LDFLAGS_units_$(2)) $$(LDFLAGS) -o $$@ $$^ -lcmocka $(LIBS)

endef

$(eval $(call VARIANT,$(B),plain,$(CC)))
$(eval $(call VARIANT,$(B)/asan,asan,clang))
$(eval $(call VARIANT,$(B)/tsan,tsan,$(CC)))

Q := $(if $(V),,@)

UNITS_plain := $(UNIT_SRC:%.c=$(B)/%)
UNITS_asan  := $(UNIT_SRC:%.c=$(B)/asan/%)
UNITS_tsan  := $(patsubst %.c,$(B)/tsan/%,$(filter-out %/kill_test.c %/fault_test.c,$(filter tests/unit/queue/% tests/unit/base/mbox% tests/unit/base/desk% tests/unit/base/loop% tests/unit/base/log% tests/unit/base/stat% tests/unit/base/conn% tests/unit/auth/try% tests/unit/auth/ban%,$(UNIT_SRC))))
FUZZERS     := $(FUZZ_SRC:%.c=$(B)/fuzz/%)
SHIMS       := $(SHIM_SRC:%.c=$(B)/%.so)
TOOLS       := $(TOOL_SRC:%.c=$(B)/%)

$(B)/asan/obj/tests/fuzz/%.o: CPPFLAGS += -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
$(B)/fuzz/tests/fuzz/%: $(B)/asan/obj/tests/fuzz/%.o $(foreach r,$(BELOW_setup),$(B)/asan/lib$(r).a)
	@mkdir -p $(@D)
	$(Q)clang $(LDFLAGS_fuzz) $(LDFLAGS_units_asan) -o $@ -Wl,--start-group $^ -Wl,--end-group $(LIBS)
# Those of setup's rooms link setup, too.
$(FUZZ_OF_setup:%=$(B)/fuzz/tests/fuzz/%_fuzz): $(B)/asan/libsetup.a

$(B)/tests/crash/%.so: tests/crash/%.c | $(B)/packages.stamp
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(BASEFLAGS) -O1 -fPIC -shared -o $@ $< -ldl

$(B)/tests/bench/load: $(TOOL_PARTS:%.c=$(B)/obj/%.o)
$(B)/tests/bench/%: $(B)/obj/tests/bench/%.o $(B)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_plain) -o $@ $^ $(LIBS)

# ---- goals ----------------------------------------------------------------

.PHONY: all run check check-long asan tsan units fuzzers fuzz bench install clean fmt layers packages

all: $(B)/postern
asan: $(B)/asan/postern
tsan: $(B)/tsan/postern $(UNITS_tsan)
units: $(UNITS_plain)
fuzzers: $(FUZZERS)

run: $(B)/postern
	$(B)/postern local run

# Goals that may install packages; the others only say what is missing.
SETS_UP := $(filter run check check-long fuzz bench packages,$(MAKECMDGOALS))
NEEDS   := $(BUILD_PACKAGES) $(if $(filter run,$(SETS_UP)),$(RUN_PACKAGES)) \
	$(if $(filter-out run,$(SETS_UP)),$(TEST_PACKAGES))

packages: $(B)/packages.stamp

# Looked at once per set of packages: the stamp holds the names that were there.
ifneq ($(strip $(NEEDS)),$(strip $(shell cat $(B)/packages.stamp 2>/dev/null)))
ifneq ($(if $(SETS_UP),,$(wildcard $(B)/packages.stamp)),$(B)/packages.stamp)
.PHONY: $(B)/packages.stamp
endif
endif
$(B)/packages.stamp:
	@mkdir -p $(B)
	@sh tests/packages $(if $(SETS_UP),install,tell) $(NEEDS) && echo "$(strip $(NEEDS))" > $@

# Under TSan the units of what has threads: their program is not linked for that.
check: all asan $(UNITS_plain) $(UNITS_asan) $(UNITS_tsan) $(FUZZERS) $(SHIMS) $(TOOLS)
	@$(PYTHON) tests/run --build $(B)

check-long: all asan tsan $(UNITS_plain) $(UNITS_asan) $(FUZZERS) $(SHIMS) $(TOOLS)
	@$(PYTHON) tests/run --build $(B) --long

layers:
	@$(PYTHON) tests/layers

fuzz: $(FUZZERS)
	@$(PYTHON) tests/run --build $(B) --only fuzz --fuzz-seconds $(SECONDS)

bench: all $(TOOLS)
	@$(PYTHON) tests/bench/bench.py --build $(B)
	$(if $(PEERS),@$(PYTHON) tests/bench/compare.py --build $(B) --peers $(PEERS))

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/doc/postern/examples $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 755 $(B)/postern $(DESTDIR)$(PREFIX)/sbin/postern
	install -m 644 etc/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 etc/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 etc/postern.conf $(DESTDIR)$(PREFIX)/share/doc/postern/postern.conf
	install -m 644 etc/examples/* $(DESTDIR)$(PREFIX)/share/doc/postern/examples/
	sed 's,@PREFIX@,$(PREFIX),g' etc/postern.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/postern.service
	@test -z "$(SENDMAIL)" || ln -sT $(PREFIX)/sbin/postern $(DESTDIR)$(SENDMAIL) # refuses to replace another's

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(B)
