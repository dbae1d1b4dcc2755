/* SPDX-License-Identifier: ISC */
/*
 * Has an alias file changed since it was read?
 *
 * A stamp that is older than the clock's grain is taken at its word; a younger
 * one may stand for two versions, so the text decides.  Main thread.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/aliases.h"
#include "smtpd/setup/generation.h"

#define GRAIN_S 2

static bool stamp_of(conf_open *open_file, str path, struct alias_stamp *out)
{
	int fd = open_file(path);
	struct stat st;
	bool good = fd >= 0 && fstat(fd, &st) == 0;

	*out = (struct alias_stamp){ 0 };
	if (good)
		*out = (struct alias_stamp){
			st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec,
			(uint64_t)st.st_size, (uint64_t)st.st_ino, (uint64_t)st.st_dev,
		};
	if (fd >= 0)
		close(fd);
	return good;
}

static void digest_file(conf_open *open_file, str path, unsigned char out[static DIGEST_MAX])
{
	struct arena a;
	str text, why;

	memset(out, 0, DIGEST_MAX);
	arena_init(&a, ARENA_UNBOUNDED);
	if (file_read(open_file, path, ALIASES_MOST, &a, &text, &why) == OK)
		digest_of(DIGEST_SHA256, text, out);
	arena_fini(&a);
}

bool aliases_changed(struct alias_seen *seen, conf_open *open_file, str path)
{
	struct alias_seen now = { 0 };
	bool changed;

	stamp_of(open_file, path, &now.stamp);
	now.settled = clock_wall() - now.stamp.changed > GRAIN_S && clock_wall() - now.stamp.modified > GRAIN_S;
	if (seen->settled && memcmp(&seen->stamp, &now.stamp, sizeof(now.stamp)) == 0)
		return false;
	digest_file(open_file, path, now.digest);
	changed = memcmp(seen->digest, now.digest, sizeof(now.digest)) != 0;
	*seen = now;
	return changed;
}
