/* SPDX-License-Identifier: ISC */
/* verb_key_parts: `postern key WORD …`, those words that have a file of their own; argv[0] is the word. */
#ifndef SETUP_KEYS_VERB_KEY_PARTS_H
#define SETUP_KEYS_VERB_KEY_PARTS_H

int verb_key_test(int argc, char **argv);
int verb_key_import(int argc, char **argv);

#endif
