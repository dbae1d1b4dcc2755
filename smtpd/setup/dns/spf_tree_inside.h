/* SPDX-License-Identifier: ISC */
/*
 * spf_tree_inside: what the tree's two files share: spf_tree.c asks, spf_judge.c
 * counts and finds.
 */
#ifndef SETUP_SPF_TREE_INSIDE_H
#define SETUP_SPF_TREE_INSIDE_H

#include "smtpd/setup/dns/spf_tree.h"

struct question;

struct spf_tree_check {
	struct dns      *dns;
	struct arena    *arena;
	spf_tree_done   *done;
	void            *user;
	struct question *all;
	size_t           questions, out, nodes;
	bool             over;
	bool             cut;          /* a cap was reached */
	str              instead;      /* of what DNS has at the root */
	struct spf_tree  tree;
};

/* Counts and findings, once every answer is in.  Pure. */
void spf_tree_judge(struct spf_tree_check *);

#endif
