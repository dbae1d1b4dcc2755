/* SPDX-License-Identifier: ISC */
/* Packets of authoritative servers: the first octet says whether it answers a
 * question or an update; the next says which type was asked. */
#include <stdint.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/dns/direct_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct direct_update d = { .zone = { "d.test", 6 }, .key_name = { "k", 1 }, .key_algorithm = { "hmac-sha256", 11 },
	                                        .key_secret = { "c2VjcmV0c2VjcmV0", 16 } };
	static const struct direct_change c = { { "a.d.test", 8 }, "TXT", { "x", 1 }, 60, false };
	struct direct_reply r = { 0 };
	struct arena a;
	str why = STR_NONE, packet;

	if (size < 4)
		return 0;
	packet = (str){ (const char *)data + 2, size - 2 };
	arena_init(&a, 16 << 20);
	if (data[0] & 1) {
		struct packet_update *u;
		char *copy;

		crypt_setup();
		u = packet_update_new(&d, &c, 1, &a, &why);
		copy = str_cstr(&a, STR("")) != NULL ? arena_alloc(&a, packet.n + 1) : NULL;
		if (u != NULL && copy != NULL) {
			memcpy(copy, packet.p, packet.n);
			memcpy(copy, packet_update_wire(u).p, 2);          /* our id, so that the rest is looked at */
			packet_update_read(u, (str){ copy, packet.n }, 1800000000, &a, &why);
		}
		packet_update_free(u);
	} else {
		packet_read(packet, STR("s1._domainkey.d.test"), (enum dns_type)data[1], (uint16_t)(data[2] << 8 | data[3]), &a, &r);
	}
	arena_fini(&a);
	return 0;
}
