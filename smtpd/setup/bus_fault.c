/* SPDX-License-Identifier: ISC */
/*
 * A page of a mapped file that the disk cannot give back is a SIGBUS, anywhere.
 * The process says so in one line and ends as it does when a sync fails: what is
 * on the disk is then in doubt, and the next start looks at it (queue/doubt.c).
 * Async-signal-safe; any thread.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/log.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

static const char line[] =
	"postern serve: a page of the queue's store, or of another file, could not be read (SIGBUS): a bad sector, or the file "
	"was cut short: look at the disk and the kernel's log; the next start looks at the store and saves what it can\n";

static void page_is_gone(int number)
{
	(void)number;
	log_last_words(line, sizeof(line) - 1);
	_exit(EXIT_LATER);
}

void bus_fault_watch(void)
{
	struct sigaction a = { .sa_handler = page_is_gone };

	sigemptyset(&a.sa_mask);
	sigaction(SIGBUS, &a, NULL);
}
