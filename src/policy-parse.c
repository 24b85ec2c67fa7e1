/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One INI file into a draft. inih splits "key = value"; everything that it would swallow, cut short or guess
 * at (long lines and names, NULs, continuation lines, empty sections, lines without "=") is seen to by the
 * reader that feeds it. Calls inih and policy-section.
 */

#include <errno.h>
#include <ini.h>
#include <string.h>

#include "policy-section.h"

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static size_t skip_blanks(const char *line, size_t size, size_t i) {
        while (i < size && is_blank(line[i]))
                i++;
        return i;
}

/* A line that begins with "[". */
static int check_section_line(struct parser *parser, const char *line, size_t size) {
        const char *close = memchr(line, ']', size);
        size_t rest;

        if (!close) {
                complain_here(parser, "the section's name lacks its closing \"]\"");
                parser->section = NULL;
                parser->section_bad = true;
                return 0;
        }

        rest = (size_t) (close - line) + 1;
        rest = skip_blanks(line, size, rest);
        if (rest < size && (line[rest] != ';' || !is_blank(line[rest - 1])))
                complain_here(parser,
                                "there is something after the section's name; write it in a line of its own");
        return section_begin(parser, line + 1, (size_t) (close - line) - 1);
}

/* A line that must be "key = value". */
static bool check_key_line(struct parser *parser, const char *line, size_t size) {
        const char *equals = memchr(line, '=', size), *colon = memchr(line, ':', size),
                   *comment = memchr(line, ';', size);

        if (colon && (!equals || colon < equals)) {
                complain_here(parser, "a key and its value are separated by \"=\" here, not by \":\"");
                return false;
        }
        if (!equals || (comment && comment < equals)) {
                complain_here(parser, "this is neither a [section] nor \"key = value\"");
                return false;
        }
        if (equals == line) {
                complain_here(parser, "there is no key before the \"=\"");
                return false;
        }
        if (!parser->section && !parser->section_bad) {
                complain_here(parser, "a key before the first section; write it below %s",
                                parser->draft->config ? "[keyrota], [secret] or [rotation]" :
                                                        "[secret], [rotation], [deliver:UNIT] or [access]");
                return false;
        }
        return true;
}

/* A line that is refused may have set this or that. */
static void salvage(struct parser *parser, const char *line, size_t size) {
        size_t start = skip_blanks(line, size, 0), n;

        for (n = start; n < size && ((line[n] >= 'a' && line[n] <= 'z') || line[n] == '_'); n++)
                ;
        section_note_bad_key(parser, line + start, n - start);
}

/* What makes a line unfit to be looked at any further. */
static bool check_characters(struct parser *parser, const char *line, size_t size, bool comment) {
        if (memchr(line, '\0', size)) {
                complain_here(parser, "there is a NUL byte in this line; write the file anew as plain text");
                return false;
        }
        if (comment)
                return true;
        for (size_t i = 0; i < size; i++) {
                unsigned char c = (unsigned char) line[i];

                if ((c < ' ' && c != '\t') || c == 0x7f) {
                        complain_here(parser,
                                        "there is a control character (\\x%02x) in this line; remove it", c);
                        return false;
                }
                if (line[i] == ';' && i > 0 && is_blank(line[i - 1]))
                        break; /* a comment may say what it likes */
                if (c >= 0x80) {
                        complain_here(parser,
                                        "there is a character that is not ASCII in this line; only comments "
                                        "may have any");
                        return false;
                }
        }
        if (size > parser->line_max) {
                complain_here(parser, "this line is %zu bytes long, %zu are the most; shorten it", size,
                                parser->line_max);
                return false;
        }
        if (is_blank(*line)) {
                complain_here(parser, "this line begins with white space; begin it in the first column");
                return false;
        }
        return true;
}

/* Whether inih is to see this line (without its newline). Sections it need not see: it would cut their names
 * short. */
static int check_line(struct parser *parser, const char **text, size_t *size) {
        const char *line = *text;
        size_t i;
        bool good;

        if (parser->line == 1 && *size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
                complain_here(parser, "the file begins with a byte order mark; save it without one");
                *text = line += 3;
                *size -= 3;
        }
        if (*size > 0 && line[*size - 1] == '\r') {
                (*size)--;
                if (!parser->told_carriage_return)
                        complain_here(parser,
                                        "this line ends in a carriage return; save the file with plain "
                                        "newlines");
                parser->told_carriage_return = true;
        }

        i = skip_blanks(line, *size, 0);
        if (i == *size)
                return 0;
        if (line[i] == ';' || line[i] == '#') {
                (void) check_characters(parser, line, *size, true);
                return 0;
        }

        good = check_characters(parser, line, *size, false);
        if (line[i] == '[') {
                int r = check_section_line(parser, line + i, *size - i);
                return r < 0 ? r : 0;
        }
        if (good && check_key_line(parser, line, *size))
                return 1;
        salvage(parser, line, *size);
        return 0;
}

/* An ini_reader: hands out "key = value" lines, and in place of every other line an empty one. */
static char *read_line(char *buffer, int buffer_size, void *userdata) {
        struct parser *parser = userdata;
        const char *line = parser->next, *newline;
        size_t size;
        int r;

        if (line == parser->end || parser->draft->error < 0)
                return NULL;

        newline = memchr(line, '\n', (size_t) (parser->end - line));
        size = (size_t) ((newline ? newline : parser->end) - line);
        parser->next = newline ? newline + 1 : parser->end;
        parser->line++;

        r = check_line(parser, &line, &size);
        if (r < 0) {
                parser->draft->error = r;
                return NULL;
        }
        if (r == 0)
                size = 0;
        if (buffer_size < 0 || size + sizeof("\n") >= (size_t) buffer_size) {
                complain_here(parser,
                                "this line is too long for the INI library of this machine; shorten it");
                size = 0;
        }

        memcpy(buffer, line, size);
        (void) strcpy(buffer + size, "\n");
        return buffer;
}

static int handle_pair(void *parser, const char *section _unused_, const char *name, const char *value) {
        section_assign(parser, name, value);
        return 1;
}

int draft_parse(struct draft *draft, const char *file, const char *data, size_t size, size_t line_max) {
        struct parser parser = {
                .draft = draft, .file = file, .next = data, .end = data + size, .line_max = line_max
        };
        int r;

        r = ini_parse_stream(read_line, &parser, handle_pair, &parser);
        if (r != 0 && draft->error == 0) /* cannot be: the reader lets nothing through that inih would refuse
                                          */
                draft_complain(draft, &(struct origin){ .file = file, .line = r > 0 ? (unsigned) r : 0 },
                                "the INI library cannot read this line");

        delivery_clear(&parser.scratch_delivery);
        free(parser.section_name);
        return draft->error;
}
