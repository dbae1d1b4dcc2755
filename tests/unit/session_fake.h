/* SPDX-License-Identifier: ISC */
/*
 * What the fakes and the house share.
 */
#ifndef TESTS_SESSION_FAKE_H
#define TESTS_SESSION_FAKE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#include <cmocka.h>
#else                            /* the fuzz target has the house without the tests */
#define assert_true(x)               must(x)
#define assert_false(x)              must(!(x))
#define assert_null(x)               must((x) == NULL)
#define assert_non_null(x)           must((x) != NULL)
#define assert_int_equal(a, b)       must((a) == (b))
#define assert_string_equal(a, b)    must(strcmp((a), (b)) == 0)
#define fail_msg(...)                must(!"the house's patience is over")
#define print_error(...)             fprintf(stderr, __VA_ARGS__)
#define _fail(file, line)            must_failed("talk", (file), (line))
#define cmocka_unit_test_setup_teardown(f, a, b) { 0 }
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/session/internal.h"

#define PATIENCE_MS 10000

/* Not every test uses every helper. */
#define HELPER __attribute__((unused)) static

#endif
