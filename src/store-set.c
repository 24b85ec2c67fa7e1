/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Key set to JSON and back. May call jwk, keyset, reason, secret, and jansson, whose memory is secret too
 * after jwk_init(). */

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "reason.h"
#include "store-set.h"

/* The members that hold our times; TIME_NEVER is a member left out. */
#define N_TIMES 6
static const char *const time_names[N_TIMES] = { "created", "published", "activates", "deactivates", "destroys", "overlap" };

static void json_freep(json_t **json) {
        json_decref(*json);
}

static int dump(const json_t *json, struct secret **ret) {
        size_t size = json_dumpb(json, NULL, 0, JSON_COMPACT);
        int r;

        if (size == 0)
                return -ENOMEM;
        r = secret_new(size, ret);
        if (r < 0)
                return r;
        (void) json_dumpb(json, (char *) (*ret)->data, size, JSON_COMPACT);
        return 0;
}

static void times_to_array(const struct key_times *times, int64_t array[static N_TIMES]) {
        memcpy(array,
               (int64_t[]){ times->created, times->published, times->activates, times->deactivates, times->destroys,
                            times->overlap },
               N_TIMES * sizeof(*array));
}

static int encode_times(json_t *object, const struct key_times *times) {
        int64_t array[N_TIMES];

        if (times->created == TIME_NEVER)
                return -EINVAL;
        times_to_array(times, array);
        for (size_t i = 0; i < N_TIMES; i++)
                if (array[i] != TIME_NEVER &&
                    json_object_set_new(object, time_names[i], json_integer(array[i])) < 0)
                        return -ENOMEM;
        return 0;
}

/* Takes our members out of the object. */
static int decode_times(json_t *object, struct key_times *ret) {
        int64_t array[N_TIMES];

        for (size_t i = 0; i < N_TIMES; i++) {
                const json_t *member = json_object_get(object, time_names[i]);

                if (member && !json_is_integer(member))
                        return -EBADMSG;
                array[i] = member ? json_integer_value(member) : TIME_NEVER;
                (void) json_object_del(object, time_names[i]);
        }
        if (array[0] == TIME_NEVER)
                return -EBADMSG;
        *ret = (struct key_times){
                .created = array[0],
                .published = array[1],
                .activates = array[2],
                .deactivates = array[3],
                .destroys = array[4],
                .overlap = array[5] == TIME_NEVER ? 0 : array[5],
        };
        /* Before there were rotations, a key signed from the start. */
        if (ret->published == TIME_NEVER && ret->activates != TIME_NEVER)
                ret->published = ret->activates;
        return 0;
}

/* Takes the value over. NULL: jansson did not take it. */
static int set_member(json_t *object, const char *name, json_t *value) {
        if (!value)
                return -EINVAL;
        return json_object_set_new(object, name, value) < 0 ? -ENOMEM : 0;
}

static int encode_key(const struct key *key, json_t *keys) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        json_t *object;
        int r;

        r = jwk_to_json(key->jwk, true, &text);
        if (r < 0)
                return r;
        object = json_loadb((const char *) text->data, text->size, 0, NULL);
        if (!object || json_array_append_new(keys, object) < 0)
                return -ENOMEM;
        return encode_times(object, &key->times);
}

static int encode_tombstone(const struct tombstone *tombstone, json_t *destroyed) {
        json_t *object = json_object();
        int r;

        if (!object || json_array_append_new(destroyed, object) < 0)
                return -ENOMEM;
        r = set_member(object, "kid", json_string(tombstone->kid));
        if (r >= 0)
                r = set_member(object, "alg", json_string(algorithm_info(tombstone->algorithm)->name));
        if (r >= 0 && tombstone->reason)
                r = set_member(object, "reason", json_string(tombstone->reason));
        return r < 0 ? r : encode_times(object, &tombstone->times);
}

static int encode_clock(const struct keyset_clock *clock, json_t *set) {
        if (!*clock->boot_id)
                return 0;
        return set_member(set, "clock",
                          json_pack("{s:s, s:I, s:I, s:b}", "boot", clock->boot_id, "now", (json_int_t) clock->now, "offset",
                                    (json_int_t) clock->offset, "synchronized", (int) clock->synchronized));
}

/* What is said of the set as a whole. */
static int encode_state(const struct keyset *keyset, json_t *set) {
        int r;

        r = encode_clock(&keyset->clock, set);
        if (r >= 0)
                r = set_member(set, "verify_generation", json_integer((json_int_t) keyset->verify_generation));
        if (r >= 0)
                r = set_member(set, "sign_generation", json_integer((json_int_t) keyset->sign_generation));
        if (r >= 0 && keyset->revoke_generation > 0)
                r = set_member(set, "revoke_generation", json_integer((json_int_t) keyset->revoke_generation));
        if (r >= 0 && keyset->caches_until > 0)
                r = set_member(set, "caches_until", json_integer(keyset->caches_until));
        if (r >= 0 && keyset->retired != TIME_NEVER)
                r = set_member(set, "retired", json_integer(keyset->retired));
        if (r >= 0 && keyset->destroy)
                r = set_member(set, "destroy", json_true());
        if (r >= 0 && keyset->policy)
                r = set_member(set, "policy", json_string(keyset->policy));
        if (r >= 0 && keyset->previous)
                r = set_member(set, "previous", json_string(keyset->previous));
        return r;
}

int store_set_encode(const struct keyset *keyset, struct secret **ret) {
        _cleanup_(json_freep) json_t *set = json_object();
        json_t *keys = json_array(), *destroyed = json_array();
        int r;

        if (!set || json_object_set_new(set, "keys", keys) < 0 ||
            json_object_set_new(set, "destroyed", destroyed) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < keyset->n_keys; i++) {
                r = encode_key(&keyset->keys[i], keys);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < keyset->n_destroyed; i++) {
                r = encode_tombstone(&keyset->destroyed[i], destroyed);
                if (r < 0)
                        return r;
        }
        r = encode_state(keyset, set);
        return r < 0 ? r : dump(set, ret);
}

static int decode_key(json_t *object, struct keyset *keyset, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        _cleanup_free_ char *why = NULL;
        struct key_times times;
        int r;

        if (!json_is_object(object) || decode_times(object, &times) < 0)
                return reason_set(-EBADMSG, ret_reason, "key %zu has no proper times", keyset->n_keys + 1);
        r = dump(object, &text);
        if (r < 0)
                return r;
        r = jwk_from_stored_json(text->data, text->size, &jwk, &why); /* the JWE has authenticated it */
        if (r == -EBADMSG || r == -EOPNOTSUPP)
                return reason_set(-EBADMSG, ret_reason, "key %zu is not right: %s", keyset->n_keys + 1,
                                  why ? why : strerror(-r));
        if (r < 0)
                return r;
        r = keyset_add(keyset, jwk, &times);
        if (r < 0)
                return r;
        jwk = NULL;
        return 0;
}

static int decode_tombstone(json_t *object, struct keyset *keyset) {
        struct tombstone tombstone = { .kid = NULL }, *larger;
        const char *kid, *alg, *why = NULL;
        int algorithm;

        if (!json_is_object(object) || decode_times(object, &tombstone.times) < 0 ||
            json_unpack(object, "{s:s, s:s, s?:s !}", "kid", &kid, "alg", &alg, "reason", &why) < 0)
                return -EBADMSG;
        algorithm = algorithm_from_name(alg);
        if (algorithm < 0)
                return -EBADMSG;

        larger = reallocarray(keyset->destroyed, keyset->n_destroyed + 1, sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        keyset->destroyed = larger;
        tombstone.algorithm = (enum algorithm) algorithm;
        tombstone.kid = strdup(kid);
        tombstone.reason = why ? strdup(why) : NULL;
        keyset->destroyed[keyset->n_destroyed++] = tombstone; /* freed with the set, whole or not */
        return tombstone.kid && (!why || tombstone.reason) ? 0 : -ENOMEM;
}

static int decode_keys(json_t *keys, json_t *destroyed, struct keyset *keyset, char **ret_reason) {
        int r;

        for (size_t i = 0; i < json_array_size(keys); i++) {
                r = decode_key(json_array_get(keys, i), keyset, ret_reason);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < json_array_size(destroyed); i++) {
                r = decode_tombstone(json_array_get(destroyed, i), keyset);
                if (r == -EBADMSG)
                        return reason_set(r, ret_reason, "what is left of destroyed key %zu is not right",
                                          i + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int decode_clock(json_t *object, struct keyset_clock *ret) {
        json_int_t now, offset;
        const char *boot;
        int synchronized;

        if (!object)
                return 0;
        if (json_unpack(object, "{s:s, s:I, s:I, s:b !}", "boot", &boot, "now", &now, "offset", &offset, "synchronized",
                        &synchronized) < 0 ||
            strlen(boot) >= sizeof(ret->boot_id))
                return -EBADMSG;
        strcpy(ret->boot_id, boot);
        ret->now = now;
        ret->offset = offset;
        ret->synchronized = synchronized;
        return 0;
}

static int copy_text(const char *text, char **ret) {
        if (!text)
                return 0;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

int store_set_decode(const struct secret *text, const char *environment, const char *name,
                     struct keyset **ret, char **ret_reason) {
        json_t *keys = NULL, *destroyed = NULL, *clock = NULL;
        json_int_t verify_generation = 0, sign_generation = 0, revoke_generation = 0, caches_until = 0, retired = TIME_NEVER;
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        const char *policy = NULL, *previous = NULL;
        _cleanup_(json_freep) json_t *set = NULL;
        int r, destroy = 0;

        set = json_loadb((const char *) text->data, text->size, JSON_REJECT_DUPLICATES, NULL);
        if (!set)
                return reason_set(-EBADMSG, ret_reason, "it is no JSON");
        /* A member more is one that a newer version put there, and that writing the set again would lose. */
        if (json_unpack(set, "{s:o, s:o, s?o, s?I, s?I, s?I, s?I, s?I, s?b, s?s, s?s !}", "keys", &keys, "destroyed", &destroyed,
                        "clock", &clock, "verify_generation", &verify_generation, "sign_generation", &sign_generation,
                        "revoke_generation", &revoke_generation, "caches_until", &caches_until, "retired", &retired, "destroy", &destroy,
                        "policy", &policy, "previous", &previous) < 0 ||
            !json_is_array(keys) || !json_is_array(destroyed) || verify_generation < 0 || sign_generation < 0 || revoke_generation < 0)
                return reason_set(-EBADMSG, ret_reason, "it is no key set of this version of keyrota");

        r = keyset_new(environment, name, &keyset);
        if (r < 0)
                return r;
        keyset->verify_generation = (uint64_t) verify_generation;
        keyset->sign_generation = (uint64_t) sign_generation;
        keyset->revoke_generation = (uint64_t) revoke_generation;
        keyset->caches_until = caches_until;
        keyset->retired = retired;
        keyset->destroy = destroy;
        r = decode_clock(clock, &keyset->clock);
        if (r < 0)
                return reason_set(r, ret_reason, "its clock is not right");
        r = decode_keys(keys, destroyed, keyset, ret_reason);
        if (r >= 0)
                r = copy_text(policy, &keyset->policy);
        if (r >= 0)
                r = copy_text(previous, &keyset->previous);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(keyset);
        return 0;
}

int store_set_copy(const struct keyset *keyset, struct keyset **ret) {
        _cleanup_(secret_freep) struct secret *text = NULL;
        _cleanup_free_ char *reason = NULL;
        int r;

        r = store_set_encode(keyset, &text);
        if (r >= 0)
                r = store_set_decode(text, keyset->environment, keyset->name, ret, &reason);
        if (r >= 0)
                (*ret)->generation = keyset->generation;
        return r;
}
