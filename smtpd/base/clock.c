/* SPDX-License-Identifier: ISC */
/*
 * clock: the two times, and how they are written.  What is fixed or shifted is
 * set before threads and only read afterwards.  Names of days and months are
 * English whatever the locale.
 */
#include "smtpd/base/clock.h"

#include <string.h>
#include <time.h>

static bool    fixed;
static int64_t fixed_at;
static int64_t shifted_by;

uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t clock_wall_us(void)
{
	struct timespec t;

	if (fixed)
		return (uint64_t)fixed_at * 1000000;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)(t.tv_sec + shifted_by) * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int64_t clock_wall(void)
{
	struct timespec t;

	if (fixed)
		return fixed_at;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec + shifted_by;
}

void clock_fix(int64_t epoch)
{
	fixed = true;
	fixed_at = epoch;
}

void clock_shift(int64_t seconds)
{
	fixed = false;
	shifted_by = seconds;
}

/* Local time; a second outside the years 0 to 9999 has no date and becomes 1970. */
static void local(int64_t epoch, struct tm *tm)
{
	time_t t = (time_t)epoch;

	if (localtime_r(&t, tm) != NULL && tm->tm_year >= -1900 && tm->tm_year <= 9999 - 1900)
		return;
	t = 0;
	if (localtime_r(&t, tm) == NULL)
		memset(tm, 0, sizeof(*tm));
}

static char *put_digits(char *p, unsigned v, int n)
{
	for (int i = n - 1; i >= 0; i--, v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + n;
}

static char *put_text(char *p, const char *text, size_t n)
{
	memcpy(p, text, n);
	return p + n;
}

static char *put_time(char *p, const struct tm *tm)
{
	p = put_digits(p, (unsigned)tm->tm_hour, 2);
	*p++ = ':';
	p = put_digits(p, (unsigned)tm->tm_min, 2);
	*p++ = ':';
	return put_digits(p, (unsigned)tm->tm_sec, 2);
}

/* +hhmm or +hh:mm; zones off by seconds lose them (RFC 5322 has no way to say it). */
static char *put_zone(char *p, const struct tm *tm, bool colon)
{
	long     minutes = tm->tm_gmtoff / 60;
	unsigned m = (unsigned)(minutes < 0 ? -minutes : minutes);

	*p++ = minutes < 0 ? '-' : '+';
	p = put_digits(p, m / 60, 2);
	if (colon)
		*p++ = ':';
	return put_digits(p, m % 60, 2);
}

str clock_date(int64_t epoch, char out[static 40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm         tm;
	char             *p = out;

	local(epoch, &tm);
	p = put_text(p, days + 3 * tm.tm_wday, 3);
	p = put_text(p, ", ", 2);
	p = put_digits(p, (unsigned)tm.tm_mday, tm.tm_mday < 10 ? 1 : 2);
	*p++ = ' ';
	p = put_text(p, months + 3 * tm.tm_mon, 3);
	*p++ = ' ';
	p = put_digits(p, (unsigned)(tm.tm_year + 1900), 4);
	*p++ = ' ';
	p = put_time(p, &tm);
	*p++ = ' ';
	p = put_zone(p, &tm, false);
	*p = '\0';
	return (str){ out, (size_t)(p - out) };
}

/* "2026-11-21T22:08:28.…+00:00" but for the milliseconds, the same for all
 * lines of a second: localtime_r takes a lock that all threads share. */
struct stamp {
	int64_t second;
	bool    set;
	char    day[19];
	char    zone[6];
};

static _Thread_local struct stamp last;

static void stamp_make(struct stamp *s, int64_t second)
{
	struct tm tm;
	char     *p = s->day;

	local(second, &tm);
	p = put_digits(p, (unsigned)(tm.tm_year + 1900), 4);
	*p++ = '-';
	p = put_digits(p, (unsigned)tm.tm_mon + 1, 2);
	*p++ = '-';
	p = put_digits(p, (unsigned)tm.tm_mday, 2);
	*p++ = 'T';
	put_time(p, &tm);
	put_zone(s->zone, &tm, true);
	s->second = second;
	s->set = true;
}

str clock_stamp(uint64_t epoch_us, char out[static 40])
{
	int64_t second = (int64_t)(epoch_us / 1000000);
	char   *p = out;

	if (!last.set || last.second != second)
		stamp_make(&last, second);
	p = put_text(p, last.day, sizeof(last.day));
	*p++ = '.';
	p = put_digits(p, (unsigned)(epoch_us / 1000 % 1000), 3);
	p = put_text(p, last.zone, sizeof(last.zone));
	*p = '\0';
	return (str){ out, (size_t)(p - out) };
}
