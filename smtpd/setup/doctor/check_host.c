/* SPDX-License-Identifier: ISC */
/* This host by itself: time, room, rights, accounts, relaying.  Pure. */
#include "smtpd/setup/doctor/checks.h"

#define MiB ((uint64_t)1 << 20)

void check_clock(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	if (!h->clock.known)
		exam_unknown(e, STR_NONE, STR("the kernel does not say how good its clock is"), STR_NONE);
	else if (!h->clock.synced)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("no time service keeps the kernel's clock right"),
		           STR("run one, `apt-get install systemd-timesyncd` or chrony: signatures, certificates and DNSSEC go by the time"));
	else
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "a time service keeps the clock right, to %llu ms",
		           (unsigned long long)h->clock.error_ms), STR_NONE);
}

/* At `least` new mail is refused for now. */
void check_disk(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	unsigned left = h->disk.free_percent < h->disk.free_inodes_percent ? h->disk.free_percent : h->disk.free_inodes_percent;
	const char *what = h->disk.free_inodes_percent < h->disk.free_percent ? "of the files that may be made" : "of the room";
	str seen;

	if (h->disk.why.n > 0) {
		exam_found(e, DOCTOR_FAULT, h->disk.path, SAYS(e, "the state directory cannot be looked at: %.*s", STR_ARG(h->disk.why)),
		           STR("make it and give it to the server's user"));
		return;
	}
	seen = SAYS(e, "%u %% %s is left, %llu MiB", left, what, (unsigned long long)(h->disk.free_bytes / MiB));
	if (left <= h->disk.least_percent)
		exam_found(e, DOCTOR_FAULT, h->disk.path, SAYS(e, "%.*s: below %u %% new mail is put off", STR_ARG(seen),
		           h->disk.least_percent), STR("make room on that file system"));
	else if (left <= 2 * h->disk.least_percent)
		exam_found(e, DOCTOR_WARNING, h->disk.path, SAYS(e, "%.*s; below %u %% new mail is put off", STR_ARG(seen),
		           h->disk.least_percent), STR("make room on that file system"));
	else
		exam_found(e, DOCTOR_OK, h->disk.path, seen, STR_NONE);
}

void check_limits(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	str seen = SAYS(e, "a process may open %llu files", (unsigned long long)h->limits.descriptors);

	if (h->limits.descriptors < h->limits.wanted)
		exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "%.*s, and all the connections of limits {} may want %llu", STR_ARG(seen),
		           (unsigned long long)h->limits.wanted),
		           STR("raise LimitNOFILE= of the unit (or `ulimit -n`), or lower connections in limits {}"));
	else
		exam_found(e, DOCTOR_OK, STR_NONE, seen, STR_NONE);
}

/* ---- who may read what --------------------------------------------------------------------- */

static bool judge_file(struct exam *e, const struct host_file *f)
{
	if (!f->there) {
		exam_unknown(e, f->path, SAYS(e, "%s cannot be looked at by this user: %.*s", f->what, STR_ARG(f->why)),
		             STR("ask again as root"));
		return false;
	}
	if (!f->ours) {
		exam_found(e, DOCTOR_FAULT, f->path, SAYS(e, "%s belongs to another user", f->what),
		           SAYS(e, "give it to the server's user with `chown`, or take it away from who has it: %.*s", STR_ARG(f->path)));
		return false;
	}
	if ((f->mode & f->forbidden) == 0)
		return true;
	exam_found(e, DOCTOR_FAULT, f->path, SAYS(e, "%s has the permissions %04o: others can %s it", f->what, f->mode,
	           (f->mode & f->forbidden & 022) != 0 ? "change" : "read"),
	           SAYS(e, "`chmod %04o %.*s`; if others could read a key, make a new one", f->mode & ~f->forbidden, STR_ARG(f->path)));
	return false;
}

void check_files(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	size_t good = 0;

	for (size_t i = 0; i < h->nfiles; i++)
		good += judge_file(e, &h->files[i]);
	if (good == h->nfiles)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "configuration, state directory, keys and passwords are closed to others "
		           "(%zu looked at)", good), STR_NONE);
}

/* ---- accounts, devices, relaying ---------------------------------------------------------------- */

void check_accounts(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	if (h->accounts.why.n > 0)
		exam_found(e, DOCTOR_FAULT, STR_NONE, h->accounts.why, STR("mend that line; `postern account list` reads the file again"));
	else if (h->accounts.n == 0)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("there is no account: nobody can log in, and no mailbox takes mail"),
		           STR("make one with `postern account add ADDRESS`"));
	else
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "the accounts can be read (%zu)", h->accounts.n), STR_NONE);
}

void check_devices(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	for (size_t i = 0; i < h->devices.n; i++)
		exam_found(e, DOCTOR_NOTE, STR_NONE, SAYS(e, "device %.*s may send to anybody without a password", STR_ARG(h->devices.v[i])),
		           STR("say to = local in its section, unless it must write to strangers"));
	if (h->devices.n == 0)
		exam_found(e, DOCTOR_OK, STR_NONE, STR("no device may send to anybody without a password"), STR_NONE);
}

void check_relay(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	if (!h->relay.known)
		exam_unknown(e, STR_NONE, SAYS(e, "the relay test could not be made: %.*s", STR_ARG(h->relay.why)),
		             STR("see `postern relay-test`"));
	else if (h->relay.through > 0)
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "a stranger could relay by %.*s", STR_ARG(h->relay.why)),
		           STR("see `postern relay-test`, and mend the alias, catch-all or device that leads outside"));
	else
		exam_found(e, DOCTOR_OK, STR_NONE, STR("no known relay trick leads outside"), STR_NONE);
}
