/* SPDX-License-Identifier: ISC */
/*
 * A QR code in the terminal, over libqrencode.
 *
 * Two modules stand above each other in one character; light ones are painted,
 * so it reads on a dark terminal, and colours are set for one that is light.
 * Verbs only.
 */
#include <stdio.h>

#include <qrencode.h>

#include "auth/verb_inside.h"
#include "smtpd/base/crypt.h"

#define QUIET 2                        /* modules of margin: enough for every reader tried */

static bool is_dark(const QRcode *q, int x, int y)
{
	if (x < 0 || y < 0 || x >= q->width || y >= q->width)
		return false;
	return q->data[y * q->width + x] & 1;
}

static void print_row(FILE *out, const QRcode *q, int y)
{
	/* black behind, white in front */
	fputs("\033[40;97m", out);
	for (int x = -QUIET; x < q->width + QUIET; x++) {
		bool above = is_dark(q, x, y), below = is_dark(q, x, y + 1);

		fputs(above   ? below ? " " : "\xe2\x96\x84"
		      : below ? "\xe2\x96\x80"
			      : "\xe2\x96\x88",
		      out);
	}
	fputs("\033[0m\n", out);
}

bool qr_print(FILE *out, str text)
{
	QRcode *q = QRcode_encodeData((int)text.n, (const unsigned char *)text.p, 0, QR_ECLEVEL_L);

	if (q == NULL)
		return false;
	for (int y = -QUIET; y < q->width + QUIET; y += 2)
		print_row(out, q, y);
	crypt_wipe(q->data, (size_t)q->width * (size_t)q->width);
	QRcode_free(q);
	return true;
}
