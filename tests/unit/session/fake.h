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
#include <cmocka.h>

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
