/* SPDX-License-Identifier: ISC */
/*
 * mbox_gather: for threads that send much in one go and soon look for more: the
 * committer, the timetable, each loop.
 *
 * From mbox_gather on, what the thread sends stays with it until it takes from a
 * mailbox (mbox_take) or hands it over: then who receives forty answers is woken
 * once, not by each.  Boxes are served in the order in which they were first
 * sent to, and keep their own order.  Such a thread never waits for an answer by
 * other means.
 */
#ifndef BASE_MBOX_GATHER_H
#define BASE_MBOX_GATHER_H

#include "smtpd/base/mbox.h"

void mbox_gather(void);
void mbox_hand_over(void);                     /* harmless when nothing was gathered */
void mbox_gather_no_more(void);                /* hands over; before the thread ends */

/* Is never gathered: for boxes that are sent to in no other way, or by which order
 * between the two does not matter (what goes first is a line of its own). */
void mbox_send_now(struct mbox *, struct baton *);

#endif
