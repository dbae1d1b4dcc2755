/* SPDX-License-Identifier: ISC */
/*
 * conf_types: text from the file to a value in the caller's struct.
 *
 * One function a type, in a table.  A value that does not fit leaves the field
 * as it was and says what would have: "must be …".  Pure but for the arena.
 */
#include <string.h>

#include "smtpd/base/conf_inside.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* clang-format off */
static const struct unit sizes[] = {
	{ "",    1 },
	{ "B",   1 },
	{ "K",   (uint64_t)1 << 10 },
	{ "KiB", (uint64_t)1 << 10 },
	{ "M",   (uint64_t)1 << 20 },
	{ "MiB", (uint64_t)1 << 20 },
	{ "G",   (uint64_t)1 << 30 },
	{ "GiB", (uint64_t)1 << 30 },
};

static const struct unit times[] = {
	{ "ms", 1 },
	{ "s",  1000 },
	{ "m",  60 * 1000 },
	{ "h",  60 * 60 * 1000 },
	{ "d",  24 * 60 * 60 * 1000 },
};
/* clang-format on */

static bool in_units(str s, const struct unit *units, size_t n, uint64_t *out)
{
	size_t digits = 0;
	uint64_t number;
	str unit;

	while (digits < s.n && is_digit(s.p[digits]))
		digits++;
	unit = str_trim(str_skip(s, digits));
	if (!str_to_u64(str_head(s, digits), &number))
		return false;
	for (size_t i = 0; i < n; i++)
		if (str_is_nocase(unit, units[i].name))
			return !__builtin_mul_overflow(number, units[i].factor, out);
	return false;
}

bool conf_size(str s, uint64_t *bytes)
{
	return in_units(s, sizes, COUNT(sizes), bytes);
}

bool conf_time(str s, uint64_t *ms)
{
	if (str_is(s, "0")) { /* nothing is nothing in every unit */
		*ms = 0;
		return true;
	}
	return in_units(s, times, COUNT(times), ms);
}

/* The number as it would be written in the file, by the largest unit that
 * divides it. */
static str written(struct arena *arena, enum conf_type type, uint64_t number)
{
	const struct unit *units = type == CONF_SIZE ? sizes : times, *best = &units[0];
	size_t n = type == CONF_SIZE ? COUNT(sizes) : type == CONF_TIME ? COUNT(times) : 0;

	if (n == 0 || number == 0)
		return arena_printf(arena, "%llu", (unsigned long long)number);
	for (size_t i = 0; i < n; i++)
		if (number % units[i].factor == 0)
			best = &units[i];
	return arena_printf(arena, type == CONF_SIZE && best->name[0] != 0 ? "%llu %s" : "%llu%s",
			    (unsigned long long)(number / best->factor), best->name);
}

static bool in_range(const struct conf_option *o, uint64_t number, struct arena *arena, str *why)
{
	uint64_t most = o->most == 0 && o->least != 0 ? UINT64_MAX : o->most;
	str low = STR_NONE, high = STR_NONE;

	if ((o->least == 0 && o->most == 0) || (number >= o->least && number <= most))
		return true;
	low = written(arena, o->type, o->least);
	high = written(arena, o->type, most);
	if (most == UINT64_MAX)
		*why = arena_printf(arena, "must be %.*s or more", STR_ARG(low));
	else if (o->least == 0)
		*why = arena_printf(arena, "must be %.*s or less", STR_ARG(high));
	else
		*why = arena_printf(arena, "must be between %.*s and %.*s", STR_ARG(low),
				    STR_ARG(high));
	return false;
}

static bool to_string(const struct conf_option *o, str value, void *field, struct arena *arena,
		      str *why)
{
	str *s = field;

	(void)o, (void)why;
	*s = value.n != 0 ? str_keep(arena, value) : (str){"", 0};
	return true;
}

static bool to_list(const struct conf_option *o, str value, void *field, struct arena *arena,
		    str *why)
{
	struct strs *list = field;
	size_t n = list->n;

	(void)o, (void)why;
	if ((n & (n - 1)) == 0) { /* its room is the power of two at or above n */
		str *v = ARENA_ARRAY(arena, str, n == 0 ? 1 : 2 * n);

		if (v == NULL)
			return true; /* arena->spent tells */
		if (n != 0)
			memcpy(v, list->v, n * sizeof(*v));
		list->v = v;
	}
	list->v[n] = str_keep(arena, value);
	list->n++;
	return true;
}

static bool to_bool(const struct conf_option *o, str value, void *field, struct arena *arena,
		    str *why)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
	bool *b = field;

	(void)o, (void)arena;
	for (size_t i = 0; i < COUNT(words); i++) {
		if (str_is_nocase(value, words[i])) {
			*b = i % 2 != 0;
			return true;
		}
	}
	*why = STR("must be yes or no");
	return false;
}

static bool to_number(const struct conf_option *o, str value, void *field, struct arena *arena,
		      str *why)
{
	uint64_t *out = field, number = 0;
	bool good;

	switch (o->type) {
	case CONF_SIZE:
		good = conf_size(value, &number);
		*why = STR("must be a size such as 50 MiB, 64 KiB or 1000");
		break;
	case CONF_TIME:
		good = conf_time(value, &number);
		*why = STR("must be a time with its unit, such as 250ms, 30s, 5m, 4h or 5d");
		break;
	default:
		good = str_to_u64(value, &number);
		*why = STR("must be a number");
	}
	if (!good || !in_range(o, number, arena, why))
		return false;
	*out = number;
	return true;
}

static bool to_word(const struct conf_option *o, str value, void *field, struct arena *arena,
		    str *why)
{
	struct buf known;
	int *word = field;

	for (int i = 0; o->words[i] != NULL; i++) {
		if (str_is_nocase(value, o->words[i])) {
			*word = i;
			return true;
		}
	}
	buf_init(&known, 512);
	for (size_t i = 0; o->words[i] != NULL; i++) {
		const char *between = o->words[i + 1] != NULL ? ", " : " or ";

		buf_addf(&known, "%s%s", i == 0 ? "" : between, o->words[i]);
	}
	*why = arena_printf(arena, "must be %.*s", STR_ARG(buf_str(&known)));
	buf_fini(&known);
	return false;
}

typedef bool convert(const struct conf_option *, str value, void *field, struct arena *, str *why);

/* clang-format off */
static convert *const converters[] = {
	[CONF_STRING] = to_string,
	[CONF_LIST]   = to_list,
	[CONF_BOOL]   = to_bool,
	[CONF_NUMBER] = to_number,
	[CONF_SIZE]   = to_number,
	[CONF_TIME]   = to_number,
	[CONF_WORD]   = to_word,
};
/* clang-format on */

static bool clean(str value, str *why)
{
	for (size_t i = 0; i < value.n; i++) {
		if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 127) {
			*why = STR("must be one line without control characters");
			return false;
		}
	}
	return true;
}

bool conf_convert(const struct conf_option *o, str value, void *field, struct arena *arena,
		  str *why)
{
	*why = STR_NONE;
	if (!clean(value, why))
		return false;
	if (o->check != NULL && !o->check(value, arena, why))
		return false;
	return converters[o->type](o, value, field, arena, why);
}

/* The table's own defaults are not put to its check: they are ours. */
bool conf_fill_default(const struct conf_option *o, void *field, struct arena *arena)
{
	str rest = str_of(o->fallback), item, why;

	if (o->fallback == NULL)
		return true;
	if (o->type != CONF_LIST)
		return converters[o->type](o, str_trim(rest), field, arena, &why);
	while (str_cut(&rest, ',', &item))
		if (str_trim(item).n != 0)
			to_list(o, str_trim(item), field, arena, &why);
	return true;
}
