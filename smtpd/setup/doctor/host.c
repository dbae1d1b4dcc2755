/* SPDX-License-Identifier: ISC */
/*
 * What the kernel says of this host: clock, disk, descriptors, addresses, who may
 * read which file.  Nothing here waits.
 */
#include "smtpd/setup/doctor/host.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/doctor/host_inside.h"

static void see_clock(struct host_facts *h)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);        /* asks only: no mode is set */

	h->now = clock_wall();
	h->clock.known = state >= 0;
	h->clock.synced = state >= 0 && state != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
	h->clock.error_ms = t.maxerror > 0 ? (uint64_t)t.maxerror / 1000 : 0;
}

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole > 0 ? (unsigned)(part * 100 / whole) : 100;
}

static void see_disk(const struct config *c, struct arena *a, struct host_facts *h)
{
	char *path = str_cstr(a, c->state);
	struct statvfs fs;

	h->disk.path = c->state;
	h->disk.least_percent = (unsigned)c->queue.free_disk_percent;
	if (path == NULL || statvfs(path, &fs) != 0) {
		h->disk.why = str_of(strerror(errno));
		return;
	}
	h->disk.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	h->disk.free_percent = percent(fs.f_bavail, fs.f_blocks);
	h->disk.free_inodes_percent = percent(fs.f_favail, fs.f_files);
}

/* Each session may hold a socket, a body's file and a questions' share; the rest is
 * the server's own: the Maildirs of three batches, mostly (three names each, of 64). */
static void see_limits(const struct config *c, struct host_facts *h)
{
	struct rlimit r = { 0 };

	h->limits.wanted = 2 * c->limits.connections + c->relay.concurrency + 640;
	h->limits.descriptors = getrlimit(RLIMIT_NOFILE, &r) == 0 ? r.rlim_max : 0;
}

/* ---- addresses ------------------------------------------------------------------------ */

static bool has(const struct strs *list, str s)
{
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->v[i], s))
			return true;
	return false;
}

static void see_addresses(const struct config *c, struct arena *a, struct host_facts *h)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	dns_wanted_addresses(c, a, &h->addresses);
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		n++;
	h->interfaces.v = ARENA_ARRAY(a, str, n + 1);
	for (const struct ifaddrs *i = all; i != NULL && h->interfaces.v != NULL; i = i->ifa_next) {
		str text;

		if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP) ||
		    (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		text = str_keep(a, str_of(addr_text(i->ifa_addr).s));
		if (!has(&h->interfaces, text))
			h->interfaces.v[h->interfaces.n++] = text;
	}
	freeifaddrs(all);
}

/* ---- who may read what ------------------------------------------------------------------- */

static void see_file(const struct config *c, struct arena *a, struct host_facts *h, str path, const char *what, unsigned forbidden)
{
	char *name = str_cstr(a, path);
	struct host_file *f = &h->files[h->nfiles];
	struct stat st;

	if (h->nfiles == HOST_FILES_MOST || path.n == 0 || name == NULL)
		return;
	*f = (struct host_file){ .path = path, .what = what, .forbidden = forbidden };
	if (stat(name, &st) == 0) {
		f->there = true;
		f->ours = st.st_uid == 0 || st.st_uid == c->uid;
		f->mode = st.st_mode & 07777;
	} else {
		f->why = str_of(strerror(errno));
		if (errno == ENOENT)
			return;
	}
	h->nfiles++;
}

static void see_keys_in(const struct config *c, struct arena *a, struct host_facts *h, str folder)
{
	char *path = str_cstr(a, folder);
	DIR *dir = path != NULL ? opendir(path) : NULL;
	const struct dirent *d;

	while (dir != NULL && (d = readdir(dir)) != NULL)
		if (str_ends_nocase(str_of(d->d_name), STR(".pem")))
			see_file(c, a, h, arena_printf(a, "%.*s/%s", STR_ARG(folder), d->d_name), "a DKIM key", 0077);
	if (dir != NULL)
		closedir(dir);
}

static void see_files(const struct config *c, struct arena *a, struct host_facts *h)
{
	h->files = ARENA_ARRAY(a, struct host_file, HOST_FILES_MOST + 1);
	if (h->files == NULL)
		return;
	see_file(c, a, h, str_of(c->file), "the configuration", 0022);
	see_file(c, a, h, c->state, "the state directory", 0077);
	see_file(c, a, h, c->auth.accounts, "the accounts file", 0007);
	see_file(c, a, h, arena_printf(a, "%.*s/keys", STR_ARG(c->state)), "the directory of keys", 0077);
	for (size_t i = 0; i < c->tls.key.n; i++)
		see_file(c, a, h, c->tls.key.v[i], "the certificate's key", 0007);
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		see_keys_in(c, a, h, arena_printf(a, "%.*s/keys/%.*s", STR_ARG(c->state), STR_ARG(d->name)));
		for (size_t k = 0; k < d->dkim.n; k++)
			if (!str_starts(((const struct dkim_section *)d->dkim.v[k])->key, str_cstr(a, c->state)))
				see_file(c, a, h, ((const struct dkim_section *)d->dkim.v[k])->key, "a DKIM key", 0077);
	}
	see_file(c, a, h, c->relay.smarthost.password_file, "the smarthost's password", 0077);
}

enum err host_look(const struct config *c, struct generation *running, conf_open *open_file, struct arena *a,
                   struct host_facts *h, str *why)
{
	*h = (struct host_facts){ .hostname = c->hostname };
	*why = STR("out of memory");
	see_clock(h);
	see_disk(c, a, h);
	see_limits(c, h);
	see_addresses(c, a, h);
	see_files(c, a, h);
	host_see_config(c, running, open_file, a, h);
	return a->spent ? ERR_MEMORY : OK;
}
