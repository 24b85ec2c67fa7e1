/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_SIMULATION_WORLD_H
#define KEYROTA_SIMULATION_WORLD_H

/*
 * One host with one secret, in true time: what is stored, what is published, who runs with what, and what is out in the world. The files here:
 *
 *   world      the state, the queue of events, the host's clocks, trace and verdict
 *   validity   tokens and cached sets that are out, and the promise about them (invariant 1)
 *   units      services that start, load, stop and fail
 *   policies   random policies and edits
 *   run        keyrota's own runs: passes, with crashes between any two effects
 *   pass       one pass of src/lifecycle.c
 *   stored     what is durable, and what is published of it
 *   handover   what a run does to the units
 *   rules      the other invariants
 *   mishaps    what administrators, power, clocks and luck do
 *
 * True time is in milliseconds, what keyrota sees in whole seconds.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chance.h"
#include "keyset.h"
#include "lifecycle.h"
#include "policy.h"
#include "secret.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (INT64_C(31557600) * SECOND)
#define EPOCH (INT64_C(1800000000) * SECOND) /* CLOCK_REALTIME of a clock that is right when the world begins */
#define NEVER INT64_MAX

/* --- What is out in the world (validity) ----------------------------------------------------------- */

/* Something that goes on to be used for a span after the last one who hands it out has stopped. */
struct lease {
        unsigned holders;
        int64_t until; /* true time; what earlier holders, or holders under an earlier policy, have left behind */
};

/* A key as the world knows it; never forgotten. */
struct world_key {
        char kid[JWK_KID_MAX + 1];
        enum algorithm algorithm;
        bool compromised;
        bool unannounced; /* it had to sign at once: the first key, one after a revocation, or of a policy that asks nobody to know it. Who has
                           * no set of its generation does not know it */
        uint64_t born;    /* generation */
        struct lease signing; /* signers that have it; then the tokens that are out */
        int64_t left_seen;    /* when a run first knew that no signer had it any more; NEVER */
        int64_t overlap;      /* ms, the longest that any policy may ask for it */
};

#define SNAPSHOT_KEYS_MAX 64

/* The set of one generation, as somebody may hold it. */
struct snapshot {
        struct snapshot *next;
        unsigned references;
        uint64_t generation;
        size_t n_keys;
        unsigned keys[SNAPSHOT_KEYS_MAX]; /* indices of world->keys */
        unsigned active;
        struct lease caches; /* places from which remote verifiers fetch it; then their caches */
        struct policy_text *policy;   /* whose deliveries were rendered; NULL: retired */
        struct policy_text *previous; /* for what those cannot carry */
};

/* A policy and its canonical text; shared, counted. */
struct policy_text {
        struct policy *policy;
        char *text;
        unsigned references;
};

/* --- Services (units) ------------------------------------------------------------------------------ */

enum unit_state { UNIT_STOPPED, UNIT_STARTING, UNIT_RUNNING };
enum unit_trouble { TROUBLE_NONE, TROUBLE_FAILS, TROUBLE_HANGS, TROUBLE_REFUSES };

struct unit {
        char name[32];
        const char *section; /* the template, or its own name */
        enum unit_state state;
        bool wanted;         /* by the administrator: started at boot */
        bool failed_by_us;
        bool restart_planned;
        unsigned invocation;
        enum unit_trouble trouble;
        int64_t trouble_until;
        /* What the running invocation was given. */
        bool consumer; /* there was something for it */
        bool recorded;
        uint64_t loaded;
        struct snapshot *held; /* NULL: not yet */
        bool signs, holds_set, asymmetric_only, serves;
        bool counts; /* as a signer of the policy in force: what it signs must verify */
        unsigned signing_key;
};

#define UNITS_MAX 12

/* --- Runs of keyrota (run, handover) ---------------------------------------------------------------- */

enum run_state { RUN_IDLE, RUN_LOCK, RUN_PASS, RUN_COMMIT, RUN_PUBLISH_RING, RUN_PUBLISH_FILE, RUN_WAIT_HANDOVER, RUN_HANDOVER };
enum command { COMMAND_NONE, COMMAND_ROTATE, COMMAND_REVOKE_ACTIVE, COMMAND_REVOKE_SOME, COMMAND_REVOKE_ALL, COMMAND_ROLLBACK };

struct run {
        enum run_state state;
        unsigned version; /* of its next event */
        const char *why;
        enum command command;
        bool command_done, blind; /* blind: the manager does not answer in the first pass */
        unsigned n_passes;
        struct keyset *keyset; /* owned between a pass and its commit */
        int revoked;           /* a kid of world->keys that this commit revokes; -1; or -2: all */
        bool policy_removed;
        uint64_t generation;   /* that it has published */
        int64_t passed_at;     /* true time of the pass */
        int64_t clock_step, clock_since; /* of src/clock.h, as it found them */
        struct lifecycle_facts facts;
        struct lifecycle_result result;
        bool prepublishes;     /* its policy */
        bool progress;         /* something was done since the last pass began */
        uint64_t verify_wanted, sign_wanted, revoke_wanted;
        size_t at;             /* unit in the handover */
        bool troubled;         /* a unit could not be handed over */
        bool waiting;          /* for an administrator or the window */
};

#define RUNS_MAX 4

/* --- Events ----------------------------------------------------------------------------------------- */

enum event_type {
        EVENT_RUN,    /* a run goes on */
        EVENT_TIMER,  /* of the secret */
        EVENT_SWEEP,
        EVENT_UNIT_READ,   /* a unit that starts reads its credential... */
        EVENT_UNIT_RECORD, /* ...and the credential server has that on record */
        EVENT_UNIT_RESTART, /* by the administrator, or because of Restart= */
        EVENT_MISHAP,
        EVENT_POWER_ON,
        EVENT_END,
};

struct event {
        int64_t time;
        uint64_t sequence;
        enum event_type type;
        unsigned which, version;
};

/* What may go wrong or change, each with a stream of chance of its own. */
enum mishap {
        MISHAP_TIMER,   /* late and lost timers, runs side by side */
        MISHAP_UNITS,   /* units that fail, hang, are stopped, started */
        MISHAP_CRASH,   /* runs killed between any two effects, full disks */
        MISHAP_POWER,
        MISHAP_CLOCK,
        MISHAP_EDIT,
        MISHAP_COMMAND,
        MISHAP_COUNT,
};

extern const char *const mishap_names[MISHAP_COUNT];

/* --- The world --------------------------------------------------------------------------------------- */

struct world {
        uint64_t seed;
        unsigned mishaps; /* bits of enum mishap */
        struct chance chance[MISHAP_COUNT], plain;
        bool trace;

        int64_t now;
        struct event *events; /* a heap */
        size_t n_events, events_size;
        uint64_t sequence;
        unsigned crash_percent; /* of a run, before each effect */
        int64_t pace; /* ms: about a cryptoperiod, what the intervals of mishaps follow */

        /* The host. */
        bool up;
        int64_t booted;
        unsigned boot;
        int64_t clock_offset; /* CLOCK_REALTIME = EPOCH + now + clock_offset */
        bool synchronised;

        /* Durable. */
        struct secret *stored; /* NULL: nothing yet */
        struct keyset *loaded; /* the same, decoded */
        uint64_t generation;
        struct policy_text *file;    /* what the administrator wrote; NULL: removed */
        struct policy_text *adopted; /* what is stored with the set; NULL: none yet */
        struct policy_text *outdated; /* keyset->previous */

        /* Of this boot. */
        struct snapshot *ring, *jwks;
        int timer_version;
        int64_t timer; /* host's seconds; TIME_NEVER: not armed */
        bool store_locked, handover_locked;
        unsigned n_tries;

        struct unit units[UNITS_MAX];
        size_t n_units;
        struct unit users; /* copies of keys in login sessions, as [access] says: renewed when the ring is */
        struct run runs[RUNS_MAX];
        struct snapshot *snapshots;
        struct world_key *keys;
        size_t n_keys, keys_size;

        /* For the rules. */
        int64_t calm_since;     /* nothing unusual has happened since */
        int64_t longest_lead, longest_overlap, longest_caches, longest_pause; /* ms, since the last calm */
        int64_t creations_due;  /* parts per million of keys that time alone has called for */
        int64_t creations_counted; /* true time up to which */
        unsigned n_creations, n_reasons;
        struct lifecycle_facts last_facts;
        int64_t last_next;      /* host's seconds */
        uint64_t last_generation;
        int64_t last_now;
        const struct policy_text *last_file;
        bool last_settled;
        int last_active;         /* key; -1: none */
        int64_t last_activation; /* host's seconds */

        /* Verdict and count. */
        bool failed;
        char why[512];
        unsigned long n_checks, n_rotations, n_runs, n_steps;
};

struct world *world_new(uint64_t seed, unsigned mishaps, bool trace);
void world_free(struct world *world);
/* Until the end, or the first violation. true: no violation. */
bool world_live(struct world *world, int64_t years, unsigned cryptoperiods);

void world_schedule(struct world *world, int64_t time, enum event_type type, unsigned which, unsigned version);
void world_trace(const struct world *world, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));
/* A violation; the first one counts. */
void world_fail(struct world *world, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));
/* How late a step may be where the timer is lost. */
int64_t world_lateness(const struct world *world);
/* No calm before now: what follows may take longer, or make more keys, than the policy alone would. */
void world_disturb(struct world *world);

static inline int64_t world_realtime(const struct world *world) {
        return EPOCH + world->now + world->clock_offset;
}
/* Whole seconds, rounded down also before 1970. */
static inline int64_t world_seconds(int64_t ms) {
        return ms >= 0 ? ms / SECOND : -((-ms + SECOND - 1) / SECOND);
}
static inline int64_t world_clock(const struct world *world) {
        return world_seconds(world_realtime(world));
}
/* CLOCK_REALTIME - CLOCK_BOOTTIME */
static inline int64_t world_offset(const struct world *world) {
        return world_seconds(EPOCH + world->clock_offset + world->booted);
}
/* The mishap's chance, and whether it may happen at all. */
static inline bool world_may(const struct world *world, enum mishap mishap) {
        return world->mishaps & (1u << mishap);
}

/* --- validity ---------------------------------------------------------------------------------------- */

int key_find(const struct world *world, const char *kid);
unsigned key_add(struct world *world, const char *kid, enum algorithm algorithm, uint64_t born);

struct snapshot *snapshot_new(struct world *world, const struct keyset *keyset);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);
/* Those that nobody holds any more, or all. */
void snapshots_forget(struct world *world, bool all);
bool snapshot_has(const struct snapshot *snapshot, unsigned key);

/* A place from which remote verifiers fetch begins or stops to show a set. */
void serving_begin(struct world *world, struct snapshot *snapshot, const char *who);
void serving_end(struct world *world, struct snapshot *snapshot);
/* A unit (or user) signs from now on, or no longer. */
void signing_begin(struct world *world, struct unit *unit);
void signing_end(struct world *world, struct unit *unit);
/* A unit verifies with what it has loaded. */
void verifying_begin(struct world *world, const struct unit *unit);
/* Another policy is in force: what was handed out before lives on under the old one. */
void validity_adopt(struct world *world, struct policy_text *policy, int64_t since);

/* --- units ------------------------------------------------------------------------------------------- */

void units_init(struct world *world);
/* Is there a credential for it, if it wants one? Else its start fails. */
bool unit_can_start(const struct world *world, const struct unit *unit);
void unit_start(struct world *world, struct unit *unit);
void unit_stop(struct world *world, struct unit *unit);
void unit_read(struct world *world, unsigned which, unsigned invocation);
void unit_record(struct world *world, unsigned which, unsigned invocation);
void unit_restart(struct world *world, unsigned which);
void unit_plan_restart(struct world *world, struct unit *unit, int64_t delay);
/* Reads anew in place; false: there is nothing for it. */
bool unit_reload(struct world *world, struct unit *unit);
void users_follow_ring(struct world *world);
void units_start_wanted(struct world *world);
/* The section of a policy that is about this unit, or NULL. */
const struct delivery *unit_delivery(const struct unit *unit, const struct policy *policy);

/* --- policies ---------------------------------------------------------------------------------------- */

struct policy_text *policy_text_new(struct world *world, const char *text);
struct policy_text *policy_text_ref(struct policy_text *policy);
void policy_text_unref(struct policy_text *policy);
struct policy_text *policy_random(struct world *world, struct chance *chance);
struct policy_text *policy_edit(struct world *world, struct chance *chance, const struct policy *from);

/* --- stored, pass ------------------------------------------------------------------------------------- */

/* The stored set, to be given back as world->loaded, or to a commit. */
struct keyset *stored_load(struct world *world);
/* Makes run->keyset the next generation. */
void stored_commit(struct world *world, struct run *run);
void publish_ring(struct world *world, const struct run *run);
void publish_file(struct world *world);
/* true: something is to be stored, run->keyset. */
bool pass_take(struct world *world, struct run *run);

/* --- run, handover ----------------------------------------------------------------------------------- */

void run_begin(struct world *world, const char *why, enum command command, bool blind);
void run_go_on(struct world *world, unsigned which, unsigned version);
void run_kill(struct world *world, struct run *run);
void runs_kill(struct world *world);
void run_schedule(struct world *world, struct run *run, int64_t delay);
/* What consumers.h would tell a run of the units. */
void run_facts(struct world *world, const struct policy *policy, struct lifecycle_facts *facts);
void timer_arm(struct world *world, int64_t when);
void timer_clock_set(struct world *world);
/* One unit of the handover; false: no unit is left. *ret_delay: how long that took. */
bool handover_step(struct world *world, struct run *run, const struct policy *policy, int64_t *ret_delay);

/* --- rules ------------------------------------------------------------------------------------------- */

/* After lifecycle_advance() and lifecycle_add(). decided: an edit, a command or the clock has changed the set before. */
void rules_after_pass(struct world *world, const struct run *run, const struct policy *policy, const struct keyset *keyset,
                      int64_t now, bool decided);
void rules_after_settling(struct world *world, const struct run *run, const struct keyset *keyset);
void rules_before_commit(struct world *world, const struct run *run, const struct keyset *keyset);
void rules_expect_no_storm(struct world *world);
void rules_count_time(struct world *world);

/* --- mishaps ----------------------------------------------------------------------------------------- */

void mishaps_init(struct world *world);
void mishap_happens(struct world *world, unsigned which);
void power_on(struct world *world);
/* The run dies here, or its write fails? */
bool mishap_crashes(struct world *world, struct run *run);

#endif
