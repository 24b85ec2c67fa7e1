/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Simulated years of one secret's life, from seeds: TAP. Each seed is a host, a policy and what goes wrong there; the seed decides which kinds of
 * mishap may happen, so that there are quiet hosts and terrible ones.
 */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jwk.h"
#include "world.h"

#define ALL_MISHAPS ((1u << MISHAP_COUNT) - 1)
#define FAILURES_MAX 3 /* that are told of each theme */

struct theme {
        const char *name;
        unsigned mishaps;
};

#define MISHAP(name) (1u << MISHAP_##name)
static const struct theme themes[] = {
        { "nothing goes wrong", 0 },
        { "timers are late or lost, runs go side by side", MISHAP(TIMER) },
        { "units fail, hang, are stopped and started", MISHAP(UNITS) },
        { "runs are killed between any two effects", MISHAP(CRASH) | MISHAP(TIMER) },
        { "the power goes", MISHAP(POWER) },
        { "the clock is set", MISHAP(CLOCK) },
        { "the policy is edited", MISHAP(EDIT) },
        { "keys are rotated, revoked and rolled back by command", MISHAP(COMMAND) },
        { "edits while units are in trouble", MISHAP(EDIT) | MISHAP(UNITS) | MISHAP(TIMER) },
        { "the clock is set while the power goes", MISHAP(CLOCK) | MISHAP(POWER) | MISHAP(CRASH) },
        { "everything at once", ALL_MISHAPS },
};

struct options {
        int64_t seed; /* -1: not one, but a range */
        int64_t first, runs, years;
        unsigned cryptoperiods, mishaps;
        bool trace, brief;
};

struct totals {
        int64_t time; /* ms */
        unsigned long checks, rotations, keys, runs;
};

static const struct theme *theme_of(uint64_t seed) {
        return &themes[seed % ELEMENTSOF(themes)];
}

static unsigned mishaps_named(const char *text) {
        unsigned mishaps = 0;

        for (unsigned i = 0; i < MISHAP_COUNT; i++)
                if (strstr(text, mishap_names[i]))
                        mishaps |= 1u << i;
        return mishaps;
}

static bool live(const struct options *options, uint64_t seed, const char *program, struct totals *totals) {
        struct world *world = world_new(seed, theme_of(seed)->mishaps & options->mishaps, options->trace);
        bool good;

        world_trace(world, "seed %" PRIu64 ", %s\n%s", seed, theme_of(seed)->name, world->file->text);
        good = world_live(world, options->years, options->cryptoperiods);
        totals->time += world->now;
        totals->checks += world->n_checks;
        totals->rotations += world->n_rotations;
        totals->keys += world->n_creations;
        totals->runs += world->n_runs;
        if (!good)
                printf("# seed %" PRIu64 ", %" PRId64 " s and %lu events after its beginning: %s\n# again, with all that led to it: %s --seed=%" PRIu64
                       " --trace\n",
                       seed, world->now / SECOND, world->n_steps, world->why, program, seed);
        world_free(world);
        return good;
}

static bool run_theme(const struct options *options, size_t theme, const char *program, unsigned n) {
        struct totals totals = { 0 };
        unsigned long n_seeds = 0, n_failed = 0;
        uint64_t first = (uint64_t) options->first;

        first += (ELEMENTSOF(themes) + theme - first % ELEMENTSOF(themes)) % ELEMENTSOF(themes);
        for (uint64_t seed = first; seed < (uint64_t) (options->first + options->runs); seed += ELEMENTSOF(themes)) {
                n_seeds++;
                if (!live(options, seed, program, &totals) && ++n_failed == FAILURES_MAX)
                        break;
        }
        printf("%s %u - %s: %lu hosts, %" PRId64 " years, %lu runs, %lu keys, %lu rotations, %lu times a set was held against a key\n",
               n_failed ? "not ok" : "ok", n, themes[theme].name, n_seeds, totals.time / YEAR, totals.runs, totals.keys, totals.rotations, totals.checks);
        return n_failed == 0;
}

static bool run_themes(const struct options *options, const char *program) {
        bool good = true;

        for (size_t i = 0; i < ELEMENTSOF(themes); i++)
                good = run_theme(options, i, program, (unsigned) i + 1) && good;
        printf("1..%zu\n", ELEMENTSOF(themes));
        return good;
}

/* All themes in turn, to the first violation. */
static bool run_briefly(const struct options *options, const char *program) {
        struct totals totals = { 0 };
        bool good = true;

        for (int64_t seed = options->first; good && seed < options->first + options->runs; seed++)
                good = live(options, (uint64_t) seed, program, &totals);
        printf("%s 1 - every theme: %" PRId64 " years\n1..1\n", good ? "ok" : "not ok", totals.time / YEAR);
        return good;
}

static bool run_one(const struct options *options, const char *program) {
        struct totals totals = { 0 };
        bool good = live(options, (uint64_t) options->seed, program, &totals);

        printf("%s 1 - seed %" PRId64 ", %s: %" PRId64 " days, %lu keys\n1..1\n", good ? "ok" : "not ok", options->seed,
               theme_of((uint64_t) options->seed)->name, totals.time / DAY, totals.keys);
        return good;
}

static _Noreturn void usage(const char *program) {
        printf("Usage: %s [OPTIONS]\n\n"
               "  --runs=N           so many hosts (default $KEYROTA_SIMULATED_HOSTS, or 440)\n"
               "  --first=N          the seed of the first (default 0)\n"
               "  --years=N          at most so long each (default 40)\n"
               "  --cryptoperiods=N  at most so many of the first policy's (default 40)\n"
               "  --seed=N           only this host\n"
               "  --mishaps=LIST     only these kinds: timers units crashes power clock edits commands\n"
               "  --trace            tell everything\n"
               "  --brief            end with the first violation\n",
               program);
        exit(EXIT_SUCCESS);
}

static int64_t number(const char *text) {
        char *end;
        long long value = strtoll(text, &end, 10);

        if (*end || end == text || value < 0) {
                (void) fprintf(stderr, "%s is no number\n", text);
                exit(2);
        }
        return value;
}

static struct options parse(int argc, char *argv[]) {
        static const struct option names[] = {
                { "runs", required_argument, NULL, 'r' },    { "first", required_argument, NULL, 'f' },
                { "years", required_argument, NULL, 'y' },   { "cryptoperiods", required_argument, NULL, 'c' },
                { "seed", required_argument, NULL, 's' },    { "mishaps", required_argument, NULL, 'm' },
                { "trace", no_argument, NULL, 't' },         { "brief", no_argument, NULL, 'b' },
                { "help", no_argument, NULL, 'h' },
                { NULL, 0, NULL, 0 },
        };
        const char *hosts = getenv("KEYROTA_SIMULATED_HOSTS"); /* fewer where each instruction is watched */
        struct options options = { .seed = -1, .runs = hosts ? number(hosts) : 440, .years = 40, .cryptoperiods = 40, .mishaps = ALL_MISHAPS };

        for (;;)
                switch (getopt_long(argc, argv, "", names, NULL)) {
                case -1:
                        return options;
                case 'r':
                        options.runs = number(optarg);
                        break;
                case 'f':
                        options.first = number(optarg);
                        break;
                case 'y':
                        options.years = number(optarg);
                        break;
                case 'c':
                        options.cryptoperiods = (unsigned) number(optarg);
                        break;
                case 's':
                        options.seed = number(optarg);
                        break;
                case 'm':
                        options.mishaps = mishaps_named(optarg);
                        break;
                case 't':
                        options.trace = true;
                        break;
                case 'b':
                        options.brief = true;
                        break;
                case 'h':
                        usage(argv[0]);
                default:
                        exit(2);
                }
}

int main(int argc, char *argv[]) {
        struct options options = parse(argc, argv);
        bool good;

        setvbuf(stdout, NULL, _IOLBF, 0);
        setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1); /* windows are in local time, with two odd days a year */
        tzset();
        if (jwk_init() < 0)
                return EXIT_FAILURE;
        if (options.seed >= 0)
                good = run_one(&options, argv[0]);
        else
                good = options.brief ? run_briefly(&options, argv[0]) : run_themes(&options, argv[0]);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
