/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_POLICY_SECTION_H
#define KEYROTA_POLICY_SECTION_H

/* One policy file while it is being read, line by line: shared by policy-parse.c (lines) and policy-section.c
 * (what they mean). */

#include "policy-draft.h"

struct section_info;

struct parser {
        struct draft *draft;
        const char *file;
        const char *next, *end;
        unsigned line;
        size_t line_max;
        const struct section_info *section; /* NULL: before the first, or in one that makes no sense */
        bool section_bad;
        char *section_name; /* whole, where inih keeps 49 bytes */
        size_t delivery;    /* index of the delivery that the section is about */
        bool scratch; /* of a [deliver:] whose unit makes no sense: its keys are checked and forgotten */
        struct delivery scratch_delivery;
        struct delivery_origins scratch_origins;
        bool told_carriage_return;
};

/* Complains about the line that is being read. A macro, so that the compiler checks the format. */
#define complain_here(parser, ...)                                                                          \
        draft_complain((parser)->draft, &(struct origin){ .file = (parser)->file, .line = (parser)->line }, \
                        __VA_ARGS__)

/* A "[name]" line. 0, or -ENOMEM. */
int section_begin(struct parser *parser, const char *name, size_t size);
/* A "key = value" line of the present section; key and value as inih split them. */
void section_assign(struct parser *parser, const char *name, const char *value);
/* The present section's key of this name was written, but so that it cannot be understood: nobody is to be
 * told that it is missing. */
void section_note_bad_key(struct parser *parser, const char *name, size_t size);

#endif
