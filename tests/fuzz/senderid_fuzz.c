/* SPDX-License-Identifier: ISC */
/*
 * senderid: any bytes as a header: its PRA (RFC 4407), and DomainKeys' sending
 * address.  What comes out has a domain.
 */
#include "modules/domainkeys/domainkeys.h"
#include "modules/senderid/senderid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct domainkeys_sender sender;
	struct senderid_pra pra;
	struct from from;
	struct splitter s;
	struct arena a;
	str back;

	arena_init(&a, (size_t)64 << 20);
	splitter_init(&s, &a, SIZE_MAX, SIZE_MAX, SIZE_MAX);
	splitter_feed(&s, (str){ (const char *)data, n }, &back);
	if (!s.done)
		splitter_end(&s, &back);
	from_judge(&a, &s.fields, &from);
	senderid_pra_find(&a, &s.fields, &from, &pra);
	must(pra.fault != NULL || (pra.field != NULL && pra.path.domain.n > 0));
	domainkeys_sender_find(&a, &s.fields, &from, &sender);
	must(sender.fault != NULL || (sender.field != NULL && sender.domain.n > 0));
	splitter_fini(&s);
	arena_fini(&a);
	return 0;
}
