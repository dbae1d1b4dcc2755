/* SPDX-License-Identifier: ISC */
/*
 * notify: words to systemd (sd_notify protocol): READY, RELOADING, STOPPING,
 * WATCHDOG, STATUS.  Does nothing when no NOTIFY_SOCKET is set.
 */
#ifndef SETUP_NOTIFY_H
#define SETUP_NOTIFY_H

#include <stdint.h>

void     notify_say(const char *words);           /* "READY=1\nSTATUS=…" */
void     notify_reloading(void);                  /* with MONOTONIC_USEC, as Type=notify-reload wants */
uint64_t notify_watchdog_ms(void);                /* how often WATCHDOG=1 must come, halved; 0: never */

#endif
