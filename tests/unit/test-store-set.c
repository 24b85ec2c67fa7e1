/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key set to its stored text and back: every member of this version, the texts of the version before, and what is refused. What surrounds the text, the sealed
 * file, is test-store's. */

#include <jansson.h>

#include "store-set.h"
#include "tap.h"

#define T0 INT64_C(1800000000)
#define BOOT "0123456789abcdef0123456789abcdef"
#define POLICY_TEXT "[secret]\nalgorithm = ES256 ; \"quoted\" \\ and \xc3\xa4\n"
#define JWK "\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"HS256\",\"use\":\"sig\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""
#define KEYS "\"keys\":[{" JWK ",\"created\":1}]"

/* What every test stands on. */
static void must(bool condition) {
        if (!condition)
                abort();
}

static void add(struct keyset *keyset, enum algorithm algorithm, const struct key_times *times) {
        struct jwk *jwk;

        must(jwk_generate(algorithm, algorithm_size_default(algorithm), &jwk) == 0);
        must(keyset_add(keyset, jwk, times) == 0);
}

/* One in the middle of a rotation, with something in every member. */
static struct keyset *full_set(void) {
        static const struct key_times times[] = {
                { .created = T0, .published = T0, .activates = T0, .deactivates = T0 + 50, .destroys = T0 + 60, .overlap = 960 },
                { .created = T0 + 10, .published = T0 + 20, .activates = T0 + 40, .deactivates = T0 + 100, .destroys = TIME_NEVER, .overlap = 1 },
                { .created = T0 + 70, .published = TIME_NEVER, .activates = TIME_NEVER, .deactivates = TIME_NEVER, .destroys = TIME_NEVER },
                { .created = -1, .published = INT64_MIN, .activates = 0, .deactivates = INT64_MAX - 1, .destroys = -5, .overlap = INT64_MAX - 1 },
        };
        static const enum algorithm algorithms[] = { ALGORITHM_HS512, ALGORITHM_ES256, ALGORITHM_EDDSA, ALGORITHM_HS256 };
        struct keyset *keyset;

        must(keyset_new("production", "billing", &keyset) == 0);
        for (size_t i = 0; i < ELEMENTSOF(times); i++)
                add(keyset, algorithms[i], &times[i]);
        add(keyset, ALGORITHM_ES384, &times[0]);
        add(keyset, ALGORITHM_HS384, &times[2]);
        must(keyset_destroy(keyset, 4, T0 + 80, "compromised") == 0);
        must(keyset_destroy(keyset, 4, T0 + 90, "superseded") == 0);
        keyset->generation = 42;
        keyset->verify_generation = 41;
        keyset->sign_generation = 40;
        keyset->revoke_generation = 39;
        keyset->policy = strdup(POLICY_TEXT);
        keyset->previous = strdup("[secret]\nalgorithm = HS512\n");
        must(keyset->policy && keyset->previous);
        keyset->caches_until = T0 + 300;
        keyset->retired = T0 + 200;
        keyset->destroy = true;
        keyset->clock = (struct keyset_clock) { .boot_id = BOOT, .now = T0 + 7, .offset = T0 - 5000 };
        return keyset;
}

static int decode(const char *text, struct keyset **ret, char **ret_reason) {
        _cleanup_(secret_freep) struct secret *secret = NULL;

        must(secret_new_from(text, strlen(text), &secret) == 0);
        return store_set_decode(secret, "production", "billing", ret, ret_reason);
}

static struct keyset *decoded(const struct secret *text) {
        _cleanup_free_ char *reason = NULL;
        struct keyset *keyset;
        int r;

        r = store_set_decode(text, "production", "billing", &keyset, &reason);
        if (r < 0)
                printf("# %s\n", reason ? reason : strerror(-r));
        must(r == 0);
        return keyset;
}

static bool same_times(const struct key_times *a, const struct key_times *b) {
        return a->created == b->created && a->published == b->published && a->activates == b->activates && a->deactivates == b->deactivates &&
               a->destroys == b->destroys && a->overlap == b->overlap;
}

static bool same_key(const struct key *a, const struct key *b) {
        _cleanup_(secret_freep) struct secret *text_a = NULL, *text_b = NULL;

        must(jwk_to_json(a->jwk, true, &text_a) == 0 && jwk_to_json(b->jwk, true, &text_b) == 0);
        return secret_equal(text_a, text_b) && same_times(&a->times, &b->times);
}

/* Everything but the generation, which is in the file's header. */
static void expect_same(const struct keyset *a, const struct keyset *b) {
        expect_string(a->environment, b->environment);
        expect_string(a->name, b->name);
        expect_int(a->verify_generation, b->verify_generation);
        expect_int(a->sign_generation, b->sign_generation);
        expect_int(a->revoke_generation, b->revoke_generation);
        expect_string(a->policy, b->policy);
        expect_string(a->previous, b->previous);
        expect_int(a->caches_until, b->caches_until);
        expect_int(a->retired, b->retired);
        expect_int(a->destroy, b->destroy);
        expect_string(a->clock.boot_id, b->clock.boot_id);
        expect_int(a->clock.now, b->clock.now);
        expect_int(a->clock.offset, b->clock.offset);
        expect_int(a->n_keys, b->n_keys);
        for (size_t i = 0; i < a->n_keys; i++)
                expect(same_key(&a->keys[i], &b->keys[i]));
        expect_int(a->n_destroyed, b->n_destroyed);
        for (size_t i = 0; i < a->n_destroyed; i++) {
                expect_string(a->destroyed[i].kid, b->destroyed[i].kid);
                expect_int(a->destroyed[i].algorithm, b->destroyed[i].algorithm);
                expect_string(a->destroyed[i].reason, b->destroyed[i].reason);
                expect(same_times(&a->destroyed[i].times, &b->destroyed[i].times));
        }
}

TEST(every_member_comes_back) {
        _cleanup_(keyset_freep) struct keyset *before = full_set(), *after = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL, *again = NULL;

        expect_int(store_set_encode(before, &text), 0);
        after = decoded(text);
        expect_same(before, after);
        expect_int(after->generation, 0);
        expect_int(after->n_keys, 4);
        expect_int(after->n_destroyed, 2);
        expect_int(store_set_encode(after, &again), 0);
        expect(secret_equal(text, again));
}

TEST(a_copy_has_its_own_of_everything_and_the_generation_too) {
        _cleanup_(keyset_freep) struct keyset *before = full_set(), *copy = NULL;

        expect_int(store_set_copy(before, &copy), 0);
        expect_same(before, copy);
        expect_int(copy->generation, 42);
        expect(copy->policy != before->policy && copy->keys != before->keys && copy->keys[0].jwk != before->keys[0].jwk);
        expect_int(keyset_destroy(copy, 0, T0, "expired"), 0);
        expect_int(before->n_keys, 4);
        expect_int(before->n_destroyed, 2);
}

TEST(a_set_of_nothing_comes_back) {
        _cleanup_(keyset_freep) struct keyset *before = NULL, *after = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL;

        must(keyset_new("production", "billing", &before) == 0);
        expect_int(store_set_encode(before, &text), 0);
        after = decoded(text);
        expect_int(after->n_keys, 0);
        expect_int(after->n_destroyed, 0);
        expect(!after->policy && !after->previous && !after->destroy);
        expect_int(after->retired, TIME_NEVER);
        expect_int(after->caches_until, 0);
        expect_string(after->clock.boot_id, "");
}

#define MEMBER_MAX 160

/* The text of a member, or "-" where there is none. */
static const char *member(const struct secret *text, const char *name, char buffer[static MEMBER_MAX]) {
        json_t *set = json_loadb((const char *) text->data, text->size, 0, NULL);
        const json_t *value = json_object_get(set, name);
        size_t size = value ? json_dumpb(value, buffer, MEMBER_MAX - 1, JSON_ENCODE_ANY | JSON_COMPACT) : 0;

        must(set && size < MEMBER_MAX);
        buffer[size] = '\0';
        if (!value)
                strcpy(buffer, "-");
        json_decref(set);
        return buffer;
}

TEST(what_is_not_so_is_a_member_left_out) {
        static const char *const names[] = { "clock", "revoke_generation", "caches_until", "retired", "destroy", "policy", "previous" };
        _cleanup_(secret_freep) struct secret *text = NULL, *full_text = NULL;
        _cleanup_(keyset_freep) struct keyset *empty = NULL, *full = full_set();
        char buffer[MEMBER_MAX];

        must(keyset_new("production", "billing", &empty) == 0);
        expect_int(store_set_encode(empty, &text), 0);
        expect_int(store_set_encode(full, &full_text), 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                expect_string(member(text, names[i], buffer), "-");
                expect(strcmp(member(full_text, names[i], buffer), "-") != 0);
        }
        expect_string(member(text, "keys", buffer), "[]");
        expect_string(member(text, "destroyed", buffer), "[]");
        expect_string(member(text, "verify_generation", buffer), "0");
        expect_string(member(full_text, "destroy", buffer), "true");
        expect_string(member(full_text, "retired", buffer), "1800000200");
}

TEST(a_time_that_is_not_known_is_a_member_left_out) {
        static const char *const names[] = { "published", "activates", "deactivates", "destroys" };
        _cleanup_(keyset_freep) struct keyset *before = full_set(), *after = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL;
        json_t *set, *waits, *first;

        expect_int(store_set_encode(before, &text), 0);
        set = json_loadb((const char *) text->data, text->size, 0, NULL);
        first = json_array_get(json_object_get(set, "keys"), 0);
        waits = json_array_get(json_object_get(set, "keys"), 2);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                expect(json_object_get(first, names[i]) && !json_object_get(waits, names[i]));
        expect_int(json_integer_value(json_object_get(waits, "created")), T0 + 70);
        json_decref(set);
        after = decoded(text);
        expect_int(after->keys[2].times.published, TIME_NEVER);
        expect_int(after->keys[2].times.activates, TIME_NEVER);
}

TEST(a_key_without_a_time_of_creation_is_not_written) {
        _cleanup_(keyset_freep) struct keyset *keyset = full_set();
        _cleanup_(secret_freep) struct secret *text = NULL;

        keyset->keys[1].times.created = TIME_NEVER;
        expect_int(store_set_encode(keyset, &text), -EINVAL);
        keyset->keys[1].times.created = 0;
        keyset->destroyed[0].times.created = TIME_NEVER;
        expect_int(store_set_encode(keyset, &text), -EINVAL);
        expect(!text);
}

TEST(a_text_that_is_not_utf8_is_not_written) {
        _cleanup_(secret_freep) struct secret *text = NULL;

        for (int i = 0; i < 3; i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = full_set();

                *(i == 0 ? keyset->policy : i == 1 ? keyset->previous : keyset->destroyed[0].reason) = '\xff';
                expect_int(store_set_encode(keyset, &text), -EINVAL);
                expect(!text);
        }
}

/* Written by a version that made first keys only. */
#define EARLIER_KEY "{" JWK ",\"created\":1700000000,\"activates\":1700000000,\"deactivates\":1702592000}"

TEST(a_file_of_the_version_before_is_read) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL, *copy = NULL;
        _cleanup_free_ char *reason = NULL;
        const struct key *key;

        expect_int(decode("{\"keys\":[" EARLIER_KEY "],\"destroyed\":[],\"policy\":\"[secret]\\nalgorithm = HS256\\n\"}", &keyset, &reason), 0);
        expect_int(keyset->n_keys, 1);
        key = &keyset->keys[0];
        expect_int(key->times.created, 1700000000);
        expect_int(key->times.published, 1700000000); /* it has signed from the start, so everybody had to have it */
        expect_int(key->times.activates, 1700000000);
        expect_int(key->times.deactivates, 1702592000);
        expect_int(key->times.destroys, TIME_NEVER);
        expect_int(key->times.overlap, 0);
        expect_string(keyset->policy, "[secret]\nalgorithm = HS256\n");
        expect(keyset_active(keyset) == key);
        expect_int(keyset->verify_generation, 0);
        expect_int(keyset->sign_generation, 0);
        expect_int(keyset->retired, TIME_NEVER);
        expect_int(keyset->caches_until, 0);
        expect(!keyset->destroy && !keyset->previous);
        expect_string(keyset->clock.boot_id, "");
        expect_int(store_set_copy(keyset, &copy), 0);
        expect_int(copy->keys[0].times.published, 1700000000);
}

TEST(a_file_of_the_version_before_with_a_tombstone_is_read) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(decode("{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"activates\":2,\"deactivates\":3,\"destroys\":4}]}",
                          &keyset, &reason), 0);
        expect_int(keyset->n_destroyed, 1);
        expect_string(keyset->destroyed[0].kid, "x");
        expect_int(keyset->destroyed[0].times.destroys, 4);
        expect(!keyset->destroyed[0].reason && !keyset->policy);
}

TEST(a_key_that_waits_is_not_taken_for_one_of_the_version_before) {
        _cleanup_(keyset_freep) struct keyset *keyset = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(decode("{" KEYS ",\"destroyed\":[]}", &keyset, &reason), 0);
        expect_int(keyset->keys[0].times.published, TIME_NEVER);
        expect(keyset_successor(keyset) == &keyset->keys[0]);
}

/* Each is one step from a text that is read. */
TEST(another_type_or_value_is_refused) {
        static const char *const texts[] = {
                "",
                "x",
                "[]",
                "null",
                "{" KEYS "}",
                "{\"destroyed\":[]}",
                "{\"keys\":{},\"destroyed\":[]}",
                "{\"keys\":null,\"destroyed\":[]}",
                "{" KEYS ",\"destroyed\":{}}",
                "{" KEYS ",\"destroyed\":[]}x",
                "{" KEYS "," KEYS ",\"destroyed\":[]}",
                "{" KEYS ",\"destroyed\":[],\"more\":1}",
                "{" KEYS ",\"destroyed\":[],\"generation\":1}",
                /* the set's */
                "{" KEYS ",\"destroyed\":[],\"policy\":1}",
                "{" KEYS ",\"destroyed\":[],\"policy\":null}",
                "{" KEYS ",\"destroyed\":[],\"policy\":\"\xff\"}",
                "{" KEYS ",\"destroyed\":[],\"policy\":\"a\\u0000b\"}",
                "{" KEYS ",\"destroyed\":[],\"previous\":[]}",
                "{" KEYS ",\"destroyed\":[],\"verify_generation\":-1}",
                "{" KEYS ",\"destroyed\":[],\"verify_generation\":\"1\"}",
                "{" KEYS ",\"destroyed\":[],\"sign_generation\":-1}",
                "{" KEYS ",\"destroyed\":[],\"sign_generation\":1.0}",
                "{" KEYS ",\"destroyed\":[],\"sign_generation\":9223372036854775808}",
                "{" KEYS ",\"destroyed\":[],\"revoke_generation\":-1}",
                "{" KEYS ",\"destroyed\":[],\"caches_until\":true}",
                "{" KEYS ",\"destroyed\":[],\"caches_until\":1e3}",
                "{" KEYS ",\"destroyed\":[],\"retired\":\"never\"}",
                "{" KEYS ",\"destroyed\":[],\"retired\":null}",
                "{" KEYS ",\"destroyed\":[],\"destroy\":1}",
                "{" KEYS ",\"destroyed\":[],\"destroy\":\"true\"}",
                /* the clock's */
                "{" KEYS ",\"destroyed\":[],\"clock\":1}",
                "{" KEYS ",\"destroyed\":[],\"clock\":[]}",
                "{" KEYS ",\"destroyed\":[],\"clock\":null}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "\",\"now\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "\",\"offset\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"now\":1,\"offset\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":1,\"now\":1,\"offset\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "\",\"now\":1.5,\"offset\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "\",\"now\":1,\"offset\":\"1\"}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "0\",\"now\":1,\"offset\":1}}",
                "{" KEYS ",\"destroyed\":[],\"clock\":{\"boot\":\"" BOOT "\",\"now\":1,\"offset\":1,\"more\":1}}",
                /* a key's */
                "{\"keys\":[1],\"destroyed\":[]}",
                "{\"keys\":[{}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK "}],\"destroyed\":[]}",
                "{\"keys\":[{\"kty\":\"oct\",\"created\":1}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":\"1\"}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1.0}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":99999999999999999999}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1,\"published\":\"1\"}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1,\"activates\":true}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1,\"deactivates\":{}}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1,\"destroys\":null}],\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":1,\"overlap\":\"15min\"}],\"destroyed\":[]}",
                /* a tombstone's */
                "{\"keys\":[],\"destroyed\":[1]}",
                "{\"keys\":[],\"destroyed\":[{\"alg\":\"ES256\",\"created\":1}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"created\":1}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\"}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"none\",\"created\":1}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":1,\"alg\":\"ES256\",\"created\":1}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"destroys\":\"2\"}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"overlap\":true}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"reason\":1}]}",
                "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"more\":1}]}",
        };
        unsigned n_wrong = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                struct keyset *keyset = NULL;
                _cleanup_free_ char *reason = NULL;
                int r = decode(texts[i], &keyset, &reason);

                if (r == -EBADMSG && reason && !keyset)
                        continue;
                printf("# %d, %s: %s\n", r, reason ? reason : "no reason", texts[i]);
                keyset_free(keyset);
                n_wrong++;
        }
        expect_int(n_wrong, 0);
}

TEST(the_texts_that_those_are_one_step_from_are_read) {
        static const char *const texts[] = {
                "{" KEYS ",\"destroyed\":[]}",
                "{\"keys\":[{" JWK ",\"created\":-1,\"published\":2,\"activates\":3,\"deactivates\":4,\"destroys\":5,\"overlap\":6}],\"destroyed\":[]}",
                "{" KEYS ",\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1,\"destroys\":2,\"overlap\":3,\"reason\":\"expired\"}]}",
                "{" KEYS ",\"destroyed\":[],\"policy\":\"p\",\"previous\":\"q\",\"verify_generation\":9223372036854775807,\"sign_generation\":0,\"revoke_generation\":0,"
                "\"caches_until\":1000,\"retired\":5,\"destroy\":true,\"clock\":{\"boot\":\"" BOOT "\",\"now\":1,\"offset\":-1,\"synchronized\":true}}",
                "{" KEYS ",\"destroyed\":[],\"destroy\":false,\"clock\":{\"boot\":\"\",\"now\":1,\"offset\":1,\"synchronized\":false}}",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(keyset_freep) struct keyset *keyset = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(decode(texts[i], &keyset, &reason), 0);
                expect(!reason);
        }
}

TEST(a_reason_says_which_key_is_wrong_and_never_quotes_it) {
        struct keyset *keyset = NULL;
        _cleanup_free_ char *reason = NULL;

        expect_int(decode("{\"keys\":[" EARLIER_KEY ",{" JWK ",\"created\":1,\"published\":\"x\"}],\"destroyed\":[]}", &keyset, &reason), -EBADMSG);
        expect(strstr(reason, "key 2") && !strstr(reason, "AAAA"));
        expect_int(decode("{\"keys\":[],\"destroyed\":[],\"clock\":{}}", &keyset, &reason), -EBADMSG);
        expect(strstr(reason, "clock"));
}

int main(void) {
        if (jwk_init() < 0)
                return EXIT_FAILURE;
        return tap_main();
}
