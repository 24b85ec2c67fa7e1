/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random policies, as text that src/policy-*.c reads, and what an administrator changes in them. */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SECONDS_OF_DAY INT64_C(86400)

struct policy_text *policy_text_new(struct world *world, const char *text) {
        struct diagnostics diagnostics = { 0 };
        struct policy_text *policy = calloc(1, sizeof(*policy));
        int r;

        assert(policy);
        r = policy_parse_text("simulated", text, &policy->policy, &diagnostics);
        if (r < 0) {
                if (world->trace)
                        diagnostics_print(&diagnostics, stdout);
                diagnostics_clear(&diagnostics);
                free(policy);
                return NULL;
        }
        diagnostics_clear(&diagnostics);
        r = policy_format(policy->policy, &policy->text);
        assert(r >= 0);
        policy->references = 1;
        return policy;
}

struct policy_text *policy_text_ref(struct policy_text *policy) {
        if (policy)
                policy->references++;
        return policy;
}

void policy_text_unref(struct policy_text *policy) {
        if (!policy || --policy->references > 0)
                return;
        policy_free(policy->policy);
        free(policy->text);
        free(policy);
}

/* --- Text ----------------------------------------------------------------------------------------------- */

/* One policy while it is drawn. */
struct draw {
        const char *algorithm;
        int64_t cryptoperiod, token_lifetime, jwks_max_age, clock_skew, jitter;
        const char *window, *on_removal;
        char deliveries[8][200];
        size_t n_deliveries;
        const char *access;
};

static const char *const algorithms[] = { "HS256", "ES256", "EdDSA", "HS384", "HS512" };
static const char *const windows[] = { "Sun 02:00-04:00", "Mon..Fri 22:00-05:00", "00:30-01:00", "Sat,Sun 00:00-24:00" };
static const char *const symmetric_formats[] = { "jwks", "jwk", "raw", "hex", "base64" };
static const char *const asymmetric_formats[] = { "jwks", "pem", "jwk" };
static const char *const sections[] = { "billing.service", "issuer.service", "gateway@.service",
                                        "portal.service",  "mailer.service", "reader.service" };

static const char *pick(struct chance *chance, const char *const texts[], size_t n) {
        return texts[chance_below(chance, n)];
}

static bool is_symmetric(const struct draw *draw) {
        return strncmp(draw->algorithm, "HS", 2) == 0;
}

static void draw_times(struct chance *chance, struct draw *draw, int64_t scale) {
        int64_t left;

        draw->cryptoperiod = scale > 0 ? scale : chance_magnitude(chance, chance_percent(chance, 40) ? SECONDS_OF_DAY : 8, 400 * SECONDS_OF_DAY);
        draw->jitter = chance_percent(chance, 40) ? chance_between(chance, 0, draw->cryptoperiod / 4) : 0;
        left = draw->cryptoperiod - draw->jitter;
        draw->clock_skew = chance_percent(chance, 30) ? 0 : chance_magnitude(chance, 1, left / 6 > 600 ? 600 : left / 6 + 1);
        left -= 2 * draw->clock_skew;
        if (chance_percent(chance, 20)) /* as tight as may be */
                draw->token_lifetime = chance_between(chance, 1, left - 1);
        else
                draw->token_lifetime = chance_magnitude(chance, 1, left / 2);
        left -= draw->token_lifetime;
        draw->jwks_max_age = chance_percent(chance, 20) ? left : chance_percent(chance, 10) ? 0 : chance_magnitude(chance, 1, left > 1 ? left : 1);
}

static void draw_delivery(struct chance *chance, const struct draw *draw, const char *section, bool sign, char *text, size_t size) {
        const char *format = is_symmetric(draw) ? pick(chance, symmetric_formats, ELEMENTSOF(symmetric_formats)) :
                                                  pick(chance, asymmetric_formats, ELEMENTSOF(asymmetric_formats));
        const char *on_change = chance_percent(chance, 60) ? "restart" :
                                chance_percent(chance, 50) ? "reload" :
                                chance_percent(chance, 50) ? "none" :
                                                             "signal:HUP";

        if (!sign && !is_symmetric(draw) && chance_percent(chance, 30))
                (void) snprintf(text, size, "[deliver:%s]\nuse = verify\non_change = %s\n", section, on_change);
        else
                (void) snprintf(text, size, "[deliver:%s]\nuse = %s\ncredential = key\nformat = %s\non_change = %s\n", section,
                                sign ? "sign" : "verify", !sign && chance_percent(chance, 60) ? "jwks" : format, on_change);
}

static void draw_deliveries(struct chance *chance, struct draw *draw) {
        unsigned percent = (unsigned) chance_between(chance, 10, 70);

        draw->n_deliveries = 0;
        for (size_t i = 0; i < ELEMENTSOF(sections); i++)
                if (chance_percent(chance, percent)) {
                        draw_delivery(chance, draw, sections[i], i < 2 || chance_percent(chance, 15), draw->deliveries[draw->n_deliveries],
                                      sizeof(draw->deliveries[0]));
                        draw->n_deliveries++;
                }
        draw->access = chance_percent(chance, 85) ? NULL : chance_percent(chance, 70) ? "verify" : "sign";
        if (draw->n_deliveries == 0 && !draw->access) {
                draw_delivery(chance, draw, sections[0], true, draw->deliveries[0], sizeof(draw->deliveries[0]));
                draw->n_deliveries = 1;
        }
}

static struct policy_text *finish(struct world *world, const struct draw *draw) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *stream = open_memstream(&text, &size);

        assert(stream);
        fprintf(stream, "[secret]\nenvironment = test\nalgorithm = %s\n[rotation]\n", draw->algorithm);
        fprintf(stream,
                "cryptoperiod = %" PRId64 "\ntoken_lifetime = %" PRId64 "\njwks_max_age = %" PRId64 "\nclock_skew = %" PRId64
                "\njitter = %" PRId64 "\n",
                draw->cryptoperiod, draw->token_lifetime, draw->jwks_max_age, draw->clock_skew, draw->jitter);
        if (draw->window)
                fprintf(stream, "window = %s\n", draw->window);
        if (draw->on_removal)
                fprintf(stream, "on_removal = %s\n", draw->on_removal);
        for (size_t i = 0; i < draw->n_deliveries; i++)
                fputs(draw->deliveries[i], stream);
        if (draw->access)
                fprintf(stream, "[access]\nusers = alice\nuse = %s\n", draw->access);
        (void) fclose(stream);
        return policy_text_new(world, text);
}

struct policy_text *policy_random(struct world *world, struct chance *chance) {
        for (;;) {
                struct draw draw = { 0 };
                struct policy_text *policy;

                draw.algorithm = pick(chance, algorithms, ELEMENTSOF(algorithms));
                draw_times(chance, &draw, 0);
                draw_deliveries(chance, &draw);
                if (chance_percent(chance, 20) && draw.cryptoperiod > SECONDS_OF_DAY)
                        draw.window = pick(chance, windows, ELEMENTSOF(windows));
                if (chance_percent(chance, 40))
                        draw.on_removal = "destroy";
                policy = finish(world, &draw);
                if (policy)
                        return policy;
        }
}

/* --- Edits ------------------------------------------------------------------------------------------------ */

/* The sections of a policy's canonical text, as they stand there. */
static void keep_deliveries(struct draw *draw, const char *text) {
        const char *section = strstr(text, "[deliver:");

        draw->n_deliveries = 0;
        while (section && draw->n_deliveries < ELEMENTSOF(draw->deliveries)) {
                const char *end = strstr(section + 1, "\n[");
                size_t size = end ? (size_t) (end - section) + 1 : strlen(section);

                if (strncmp(section, "[deliver:", 9) != 0)
                        break;
                assert(size < sizeof(draw->deliveries[0]));
                memcpy(draw->deliveries[draw->n_deliveries], section, size);
                draw->deliveries[draw->n_deliveries++][size] = '\0';
                section = end ? end + 1 : NULL;
        }
}

struct policy_text *policy_edit(struct world *world, struct chance *chance, const struct policy *from) {
        _cleanup_free_ char *text = NULL;
        int r = policy_format(from, &text);

        assert(r >= 0);
        for (;;) {
                char window[WINDOW_TEXT_MAX];
                struct draw draw = {
                        .algorithm = algorithm_info(from->algorithm)->name,
                        .cryptoperiod = from->cryptoperiod,
                        .token_lifetime = from->token_lifetime,
                        .jwks_max_age = from->jwks_max_age,
                        .clock_skew = from->clock_skew,
                        .jitter = from->jitter,
                        .on_removal = from->on_removal == ON_REMOVAL_DESTROY ? "destroy" : NULL,
                        .access = from->access.n_users == 0 ? NULL : from->access.use == USE_SIGN ? "sign" : "verify",
                };
                struct policy_text *policy;

                if (from->window.set)
                        draw.window = window_format(&from->window, window);
                keep_deliveries(&draw, text);
                switch (chance_below(chance, 8)) {
                case 0:
                        draw.algorithm = pick(chance, algorithms, ELEMENTSOF(algorithms));
                        if (is_symmetric(&draw) != algorithm_is_symmetric(from->algorithm))
                                draw_deliveries(chance, &draw);
                        break;
                case 1:
                        draw.token_lifetime = chance_magnitude(chance, 1, draw.cryptoperiod);
                        break;
                case 2:
                        draw.jwks_max_age = chance_magnitude(chance, 1, draw.cryptoperiod);
                        break;
                case 3:
                        draw.cryptoperiod = chance_magnitude(chance, world->pace / SECOND / 4 + 1, 4 * world->pace / SECOND);
                        break;
                case 4:
                        draw_times(chance, &draw, draw.cryptoperiod);
                        break;
                case 5:
                        draw_deliveries(chance, &draw);
                        break;
                case 6: /* one consumer less */
                        if (draw.n_deliveries > 0)
                                memmove(draw.deliveries[0], draw.deliveries[1], --draw.n_deliveries * sizeof(draw.deliveries[0]));
                        break;
                case 7:
                        if (draw.window || draw.cryptoperiod <= SECONDS_OF_DAY)
                                draw.window = NULL;
                        else
                                draw.window = pick(chance, windows, ELEMENTSOF(windows));
                        draw.on_removal = draw.on_removal ? NULL : "destroy";
                        break;
                }
                policy = finish(world, &draw);
                if (policy)
                        return policy;
        }
}
