/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The store in a scratch tree, under a key-encryption key that is not sealed anywhere. Needs root, as stored
 * files must be root's. */

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base64.h"
#include "paths.h"
#include "store-jwe.h"
#include "store-set.h"
#include "store.h"
#include "tap.h"

#define ENV_FOLDER PATH_STATE "/production"
#define FILE_A ENV_FOLDER "/a.jwe"

static char scratch[1024];
static struct tree *tree;
static struct kek *kek, *other_kek;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

static void remove_scratch(void) {
        tree_free(tree);
        kek_free(kek);
        kek_free(other_kek);
        (void) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *in_scratch(const char *path) {
        static char full[4][2048];
        static unsigned i;

        i = (i + 1) % ELEMENTSOF(full);
        (void) snprintf(full[i], sizeof(full[i]), "%s%s", scratch, path);
        return full[i];
}

/* Every test begins with no store. */
static bool begin(void) {
        (void) nftw(in_scratch("/var"), remove_one, 16, FTW_DEPTH | FTW_PHYS);
        return access(in_scratch("/var"), F_OK) < 0;
}

static struct kek *make_kek(const char *kid, uint8_t byte) {
        struct kek *made = calloc(1, sizeof(*made));

        if (!made || secret_new(32, &made->bytes) < 0)
                return NULL;
        memset(made->bytes->data, byte, 32);
        strcpy(made->kid, kid);
        return made;
}

static bool add_key(struct keyset *set, enum algorithm algorithm, const struct key_times *times) {
        struct jwk *jwk = NULL;

        return jwk_generate(algorithm, algorithm_size_default(algorithm), &jwk) == 0 &&
                        keyset_add(set, jwk, times) == 0;
}

static const struct key_times some_times = {
        .created = 1700000000, .activates = 1700000000, .deactivates = TIME_NEVER, .destroys = TIME_NEVER
};

/* Stores a set of one HS256 key under this name. */
static int store_one(const char *environment, const char *name) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        int r;

        r = store_open(tree, kek, true, 0, &store, NULL);
        if (r >= 0)
                r = keyset_new(environment, name, &set);
        if (r >= 0 && !add_key(set, ALGORITHM_HS256, &some_times))
                r = -EIO;
        if (r >= 0)
                r = store_stage(store, set, NULL);
        return r < 0 ? r : store_commit(store, NULL);
}

static int load_with(const struct kek *with, const char *environment, const char *name, struct keyset **ret,
                     char **ret_reason) {
        _cleanup_(store_freep) struct store *store = NULL;
        int r;

        free(*ret_reason);
        *ret_reason = NULL;
        r = store_open(tree, with, false, 0, &store, ret_reason);
        return r < 0 ? r : store_load(store, environment, name, ret, ret_reason);
}

/* The result of loading production/a; what was loaded is dropped. */
static int load_a(char **ret_reason) {
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        int r = load_with(kek, "production", "a", &set, ret_reason);

        return r == 0 && set->n_keys != 1 ? 1 : r;
}

static bool write_file(const char *path, const void *data, size_t size) {
        _cleanup_close_ int fd = open(in_scratch(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        return fd >= 0 && write(fd, data, size) == (ssize_t) size;
}

static unsigned count_files(const char *folder) {
        char command[2100];
        unsigned n = 0;
        FILE *f;

        (void) snprintf(command, sizeof(command), "find %s -type f ! -name .lock | wc -l",
                        in_scratch(folder));
        f = popen(command, "re");
        if (!f || fscanf(f, "%u", &n) != 1)
                n = 99;
        if (f)
                (void) pclose(f);
        return n;
}

TEST(a_set_comes_back_with_every_member) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL, *back = NULL;
        _cleanup_free_ char *reason = NULL;
        const struct key_times times[] = {
                { .created = 1, .activates = 2, .deactivates = 3, .destroys = 4 },
                { .created = 1700000000,
                  .activates = 1700000360,
                  .deactivates = TIME_NEVER,
                  .destroys = TIME_NEVER },
                { .created = 0, .activates = TIME_NEVER, .deactivates = TIME_NEVER, .destroys = TIME_NEVER },
                { .created = -1, .activates = INT64_MIN, .deactivates = INT64_MAX - 1, .destroys = 0 },
        };
        const enum algorithm algorithms[] = { ALGORITHM_HS512, ALGORITHM_ES256, ALGORITHM_EDDSA,
                                              ALGORITHM_ES512 };

        expect(begin());
        expect_int(keyset_new("production", "billing", &set), 0);
        for (size_t i = 0; i < ELEMENTSOF(times); i++)
                expect(add_key(set, algorithms[i], &times[i]));
        set->policy = strdup("[secret]\nalgorithm = ES256 ; \"quoted\" \\ and \xc3\xa4\n");
        set->destroyed = calloc(2, sizeof(*set->destroyed));
        set->n_destroyed = 2;
        set->destroyed[0] = (struct tombstone){ .kid = strdup("gone"),
                                                .algorithm = ALGORITHM_PS384,
                                                .times = times[0],
                                                .reason = strdup("its time was over") };
        set->destroyed[1] = (struct tombstone){ .kid = strdup("gone-too"),
                                                .algorithm = ALGORITHM_HS256,
                                                .times = times[1] };

        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_stage(store, set, &reason), 0);
        expect_int(set->generation, 1);
        expect_int(store_commit(store, &reason), 0);
        expect_int(store_load(store, "production", "billing", &back, &reason), 0);

        expect_string(back->environment, "production");
        expect_string(back->name, "billing");
        expect_int(back->generation, 1);
        expect_string(back->policy, set->policy);
        expect_int(back->n_keys, ELEMENTSOF(times));
        for (size_t i = 0; i < back->n_keys; i++) {
                _cleanup_(secret_freep) struct secret *before = NULL, *after = NULL;

                expect(memcmp(&back->keys[i].times, &times[i], sizeof(times[i])) == 0);
                expect_int(jwk_to_json(set->keys[i].jwk, true, &before), 0);
                expect_int(jwk_to_json(back->keys[i].jwk, true, &after), 0);
                expect(secret_equal(before, after));
        }
        expect_int(back->n_destroyed, 2);
        expect_string(back->destroyed[0].kid, "gone");
        expect_int(back->destroyed[0].algorithm, ALGORITHM_PS384);
        expect(memcmp(&back->destroyed[0].times, &times[0], sizeof(times[0])) == 0);
        expect_string(back->destroyed[0].reason, "its time was over");
        expect_string(back->destroyed[1].kid, "gone-too");
        expect(memcmp(&back->destroyed[1].times, &times[1], sizeof(times[1])) == 0);
        expect(!back->destroyed[1].reason);
}

TEST(a_time_not_decided_yet_is_a_member_left_out) {
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_(secret_freep) struct secret *text = NULL;
        const struct key_times undated = { .created = TIME_NEVER, .activates = 1, .deactivates = 2, .destroys = 3 };

        expect_int(keyset_new("production", "a", &set), 0);
        expect(add_key(set, ALGORITHM_HS256, &some_times));
        expect_int(store_set_encode(set, &text), 0);
        expect(strstr((char *) text->data, "\"created\":1700000000,") && strstr((char *) text->data, "\"activates\":1700000000,"));
        expect(!strstr((char *) text->data, "deactivates") && !strstr((char *) text->data, "destroys"));
        expect(add_key(set, ALGORITHM_HS256, &undated));
        secret_free(TAKE_PTR(text));
        expect_int(store_set_encode(set, &text), -EINVAL);
}

TEST(a_set_in_another_form_is_refused) {
#define JWK "\"kty\":\"oct\",\"kid\":\"k\",\"alg\":\"HS256\",\"use\":\"sig\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""
        static const struct {
                const char *text;
                int wanted;
        } cases[] = {
                { "{\"keys\":[{" JWK ",\"created\":1}],\"destroyed\":[]}", 0 },
                { "{\"keys\":[{" JWK ",\"created\":1}],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\",\"created\":1}]}", 0 },
                { "{\"keys\":[{" JWK ",\"created\":1}]}", -EBADMSG },
                { "{\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[],\"more\":1}", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[],\"policy\":1}", -EBADMSG },
                { "{\"keys\":[],\"keys\":[],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":{},\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[1],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{" JWK "}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{" JWK ",\"created\":\"1\"}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{" JWK ",\"created\":1.0}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{" JWK ",\"created\":1,\"destroys\":null}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{" JWK ",\"created\":99999999999999999999}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[{\"kty\":\"oct\",\"created\":1}],\"destroyed\":[]}", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"none\",\"created\":1}]}", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[{\"alg\":\"ES256\",\"created\":1}]}", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[{\"kid\":\"x\",\"alg\":\"ES256\"}]}", -EBADMSG },
                { "[]", -EBADMSG },
                { "", -EBADMSG },
                { "{\"keys\":[],\"destroyed\":[]}x", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL;
                _cleanup_(secret_freep) struct secret *text = NULL;
                _cleanup_free_ char *reason = NULL;

                expect_int(secret_new_from(cases[i].text, strlen(cases[i].text), &text), 0);
                int r = store_set_decode(text, "production", "a", &set, &reason);
                if (r != cases[i].wanted)
                        printf("# %s\n", cases[i].text);
                expect_int(r, cases[i].wanted);
                expect(r == 0 || reason);
        }
}

TEST(a_header_in_another_form_is_refused) {
#define REST "\"enc\":\"A256GCM\",\"typ\":\"JOSE\",\"cty\":\"jwk-set+json\",\"kid\":\"k\",\"env\":\"e\",\"name\":\"n\""
        static const struct {
                const char *header;
                int wanted;
        } cases[] = {
                { "{\"alg\":\"dir\"," REST ",\"gen\":1}", 0 },
                { "{\"alg\":\"dir\"," REST ",\"gen\":9223372036854775807}", 0 },
                { "{\"alg\":\"dir\"," REST ",\"gen\":0}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":-1}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":1.0}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":\"1\"}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":9223372036854775808}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST "}", -EBADMSG },
                { "{" REST ",\"gen\":1}", -EBADMSG },
                { "{\"alg\":\"A256KW\"," REST ",\"gen\":1}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":1,\"crit\":[\"exp\"]}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":1,\"zip\":\"DEF\"}", -EBADMSG },
                { "{\"alg\":\"dir\"," REST ",\"gen\":1,\"gen\":2}", -EBADMSG },
                { "{\"alg\":\"dir\",\"enc\":\"A128GCM\",\"typ\":\"JOSE\",\"cty\":\"jwk-set+json\",\"kid\":\"k\",\"env\":\"e\",\"name\":\"n\",\"gen\":1}", -EBADMSG },
                { "{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"typ\":\"JOSE\",\"cty\":\"jwk-set+json\",\"kid\":\"k\",\"env\":\"..\",\"name\":\"n\",\"gen\":1}", -EBADMSG },
                { "{\"alg\":\"dir\",\"enc\":\"A256GCM\",\"typ\":\"JOSE\",\"cty\":\"jwk-set+json\",\"kid\":\"k\",\"env\":\"e\",\"name\":\"a/b\",\"gen\":1}", -EBADMSG },
                { "[]", -EBADMSG },
                { "", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(secret_freep) struct secret *protected = NULL;
                struct jwe_header header;
                const char *what = NULL;
                char text[1024];

                expect_int(base64url_encode(cases[i].header, strlen(cases[i].header), &protected), 0);
                int n = snprintf(text, sizeof(text), "%s..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", (char *) protected->data);
                int r = jwe_parse(text, (size_t) n, &header, &what);
                if (r != cases[i].wanted)
                        printf("# %s\n", cases[i].header);
                expect_int(r, cases[i].wanted);
                expect(r == 0 || what);
        }
}

TEST(a_set_without_keys_or_policy_comes_back) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL, *back = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_stage(store, set, &reason), 0);
        expect_int(store_commit(store, &reason), 0);
        expect_int(store_load(store, "production", "a", &back, &reason), 0);
        expect_int(back->n_keys, 0);
        expect(!back->policy);
}

TEST(files_and_folders_are_roots_alone) {
        struct stat st;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(stat(in_scratch(PATH_STATE), &st), 0);
        expect_int(st.st_mode & 07777, 0700);
        expect_int(stat(in_scratch(ENV_FOLDER), &st), 0);
        expect_int(st.st_mode & 07777, 0700);
        expect_int(stat(in_scratch(FILE_A), &st), 0);
        expect_int(st.st_mode & 07777, 0600);
        expect_int(count_files(PATH_STATE), 1);
}

TEST(no_key_byte_and_no_policy_text_is_in_the_file) {
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_(secret_freep) struct secret *json = NULL;
        _cleanup_free_ char *reason = NULL, *text = NULL;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(load_with(kek, "production", "a", &set, &reason), 0);
        expect_int(jwk_to_json(set->keys[0].jwk, true, &json), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size), 0);
        char *k = strstr((char *) json->data, "\"k\":\"");
        expect(k);
        expect(!memmem(text, size, k + 5, 16));
        expect(!strstr(text, jwk_kid(set->keys[0].jwk)));
}

TEST(what_is_not_there_is_not_found) {
        _cleanup_free_ char *reason = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;

        expect(begin());
        expect_int(load_a(&reason), -ENOENT);
        expect(access(in_scratch(PATH_STATE), F_OK) < 0); /* reading makes nothing */
        expect_int(store_one("production", "a"), 0);
        expect_int(load_with(kek, "production", "b", &set, &reason), -ENOENT);
        expect_int(load_with(kek, "staging", "a", &set, &reason), -ENOENT);
}

TEST(names_outside_the_alphabet_reach_no_path) {
        static const char *const names[] = { "",     ".",  "..", "../production/a", "a/b", "A", ".a",
                                             "a..b", "-a", "a\n" };
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL, *set2 = NULL;
                _cleanup_free_ char *path = NULL;
                uint64_t generation;

                expect_int(store_load(store, "production", names[i], &set, &reason), -EINVAL);
                expect_int(store_load(store, names[i], "a", &set, &reason), -EINVAL);
                expect_int(store_peek_generation(store, names[i], "a", &generation), -EINVAL);
                expect_int(store_peek_generation(store, "production", names[i], &generation), -EINVAL);
                expect_int(store_set_aside(store, "production", names[i], &path), -EINVAL);
                expect_int(keyset_new(names[i], "a", &set), 0);
                expect_int(store_stage(store, set, &reason), -EINVAL);
                expect_int(keyset_new("production", names[i], &set2), 0);
                expect_int(store_stage(store, set2, &reason), -EINVAL);
        }
        expect_int(count_files("/"), 1);
}

TEST(every_flipped_byte_is_refused) {
        _cleanup_free_ char *reason = NULL, *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(load_a(&reason), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size), 0);
        fd = open(in_scratch(FILE_A), O_WRONLY | O_CLOEXEC);
        expect(fd >= 0);
        for (size_t i = 0; i < size; i++)
                for (unsigned bit = 0; bit < 8; bit++) {
                        char changed = (char) (text[i] ^ (1 << bit));

                        expect(pwrite(fd, &changed, 1, (off_t) i) == 1);
                        int r = load_a(&reason);
                        if (r != -EBADMSG && r != -EKEYREJECTED) {
                                printf("# byte %zu bit %u: %d\n", i, bit, r);
                                expect_int(r, -EBADMSG);
                        }
                        expect(reason);
                        expect(pwrite(fd, &text[i], 1, (off_t) i) == 1);
                }
        expect_int(load_a(&reason), 0);
}

TEST(every_truncation_is_called_torn) {
        _cleanup_free_ char *reason = NULL, *text = NULL;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size), 0);
        for (size_t n = size - 1; n > 0; n--) {
                expect_int(truncate(in_scratch(FILE_A), (off_t) n), 0);
                expect_int(load_a(&reason), -EBADMSG);
                expect(strstr(reason, "torn: it ends in the middle"));
        }
        expect_int(truncate(in_scratch(FILE_A), 0), 0);
        expect_int(load_a(&reason), -EBADMSG);
        expect(strstr(reason, "is empty"));
        expect_int(truncate(in_scratch(FILE_A), (off_t) size), 0);
        expect_int(load_a(&reason), -EBADMSG);
        expect(strstr(reason, "power cut"));
}

TEST(every_insertion_is_refused) {
        _cleanup_free_ char *reason = NULL, *text = NULL;
        char longer[8192];
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size), 0);
        expect(size + 1 < sizeof(longer));
        for (const char *c = "A.\n= {"; *c; c++)
                for (size_t i = 0; i <= size; i++) {
                        memcpy(longer, text, i);
                        longer[i] = *c;
                        memcpy(longer + i + 1, text + i, size - i);
                        expect(write_file(FILE_A, longer, size + 1));
                        expect_int(load_a(&reason), -EBADMSG);
                }
}

TEST(a_refusal_names_the_file_and_a_remedy) {
        _cleanup_free_ char *reason = NULL;
        char wanted[4096];

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(truncate(in_scratch(FILE_A), 50), 0);
        expect_int(load_a(&reason), -EBADMSG);
        (void) snprintf(wanted, sizeof(wanted),
                        "%s is torn: it ends in the middle: restore it from a backup, or make new keys "
                        "with keyrota provision --replace=a",
                        in_scratch(FILE_A));
        expect_string(reason, wanted);
}

TEST(a_file_of_another_secret_is_refused) {
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_one("production", "b"), 0);
        expect_int(store_one("staging", "a"), 0);
        expect_int(rename(in_scratch(ENV_FOLDER "/b.jwe"), in_scratch(FILE_A)), 0);
        expect_int(load_a(&reason), -EBADMSG);
        expect(strstr(reason, "is for production/b, not for production/a"));
        expect_int(rename(in_scratch(PATH_STATE "/staging/a.jwe"), in_scratch(FILE_A)), 0);
        expect_int(load_a(&reason), -EBADMSG);
        expect(strstr(reason, "is for staging/a, not for production/a"));
}

TEST(an_older_file_loads_with_its_generation) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL, *back = NULL;
        _cleanup_free_ char *reason = NULL, *old = NULL;
        uint64_t generation = 0;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &old, &size), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_load(store, "production", "a", &set, &reason), 0);
        expect_int(store_stage(store, set, &reason), 0);
        expect_int(store_commit(store, &reason), 0);
        expect_int(set->generation, 2);
        expect_int(store_peek_generation(store, "production", "a", &generation), 0);
        expect_int(generation, 2);
        expect(write_file(FILE_A, old, size));
        expect_int(store_load(store, "production", "a", &back, &reason), 0);
        expect_int(back->generation, 1);
        expect_int(store_peek_generation(store, "production", "a", &generation), 0);
        expect_int(generation, 1);
}

TEST(another_key_encryption_key_is_told_from_a_forgery) {
        _cleanup_free_ char *reason = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_(kek_freep) struct kek *same_kid = make_kek(kek->kid, 9);

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(load_with(other_kek, "production", "a", &set, &reason), -EKEYREJECTED);
        expect(strstr(reason, kek->kid) && strstr(reason, other_kek->kid));
        expect_int(load_with(same_kid, "production", "a", &set, &reason), -EBADMSG);
        expect(strstr(reason, "not authentic"));
        expect_int(load_with(NULL, "production", "a", &set, &reason), -ENOKEY);
}

TEST(a_file_that_is_not_roots_alone_is_refused) {
        static const mode_t modes[] = { 0640, 0604, 0620, 0602, 0610, 0601, 0666 };
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        for (size_t i = 0; i < ELEMENTSOF(modes); i++) {
                expect_int(chmod(in_scratch(FILE_A), modes[i]), 0);
                expect_int(load_a(&reason), -EPERM);
                expect(strstr(reason, "chmod 0600"));
        }
        expect_int(chmod(in_scratch(FILE_A), 0600), 0);
        expect_int(chown(in_scratch(FILE_A), 65534, 0), 0);
        expect_int(load_a(&reason), -EPERM);
        expect_int(chown(in_scratch(FILE_A), 0, 0), 0);
        expect_int(chmod(in_scratch(FILE_A), 0400), 0);
        expect_int(load_a(&reason), 0);
}

TEST(a_folder_that_others_can_write_to_is_refused) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(chmod(in_scratch(ENV_FOLDER), 0770), 0);
        expect_int(load_a(&reason), -EPERM);
        expect(strstr(reason, "chmod 0700"));
        expect_int(chmod(in_scratch(ENV_FOLDER), 0700), 0);
        expect_int(chmod(in_scratch(PATH_STATE), 0777), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), -EPERM);
        expect_int(load_a(&reason), -EPERM);
}

TEST(a_link_fifo_socket_or_folder_is_refused_without_hanging) {
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(rename(in_scratch(FILE_A), in_scratch(ENV_FOLDER "/kept")), 0);
        expect_int(symlink("kept", in_scratch(FILE_A)), 0);
        expect_int(load_a(&reason), -EPERM);
        expect_int(unlink(in_scratch(FILE_A)), 0);
        expect_int(mkfifo(in_scratch(FILE_A), 0600), 0);
        expect_int(load_a(&reason), -EPERM);
        expect_int(unlink(in_scratch(FILE_A)), 0);
        expect_int(mknod(in_scratch(FILE_A), S_IFSOCK | 0600, 0), 0);
        expect_int(load_a(&reason), -EPERM);
        expect_int(unlink(in_scratch(FILE_A)), 0);
        expect_int(mkdir(in_scratch(FILE_A), 0700), 0);
        expect_int(load_a(&reason), -EPERM);
        expect_int(rmdir(in_scratch(FILE_A)), 0);

        /* The folder itself. */
        expect_int(rename(in_scratch(ENV_FOLDER), in_scratch(PATH_STATE "/kept")), 0);
        expect_int(symlink("kept", in_scratch(ENV_FOLDER)), 0);
        expect_int(load_a(&reason), -EPERM);
        expect(strstr(reason, "is not a folder"));
}

TEST(a_file_too_large_is_refused) {
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(truncate(in_scratch(FILE_A), 2 * 1024 * 1024), 0);
        expect_int(load_a(&reason), -EBADMSG);
        expect(strstr(reason, "larger than"));
}

TEST(a_set_too_large_is_not_written) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        set->policy = calloc(1, STORE_FILE_MAX + 1);
        memset(set->policy, 'x', STORE_FILE_MAX);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_stage(store, set, &reason), -EFBIG);
        expect_int(set->generation, 0);
        expect_int(count_files(PATH_STATE), 0);
}

TEST(text_that_is_not_utf8_is_not_written) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        set->policy = strdup("\xff");
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_stage(store, set, &reason), -EINVAL);
        expect_int(count_files(PATH_STATE), 0);
}

TEST(new_keys_never_take_the_place_of_a_stored_file) {
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_one("production", "a"), -EEXIST);
        expect_int(load_a(&reason), 0);
        expect_int(truncate(in_scratch(FILE_A), 10), 0);
        expect_int(store_one("production", "a"), -EEXIST);
        struct stat st;
        expect_int(stat(in_scratch(FILE_A), &st), 0);
        expect_int(st.st_size, 10);
}

TEST(what_is_staged_and_not_committed_leaves_nothing) {
        _cleanup_(keyset_freep) struct keyset *one = NULL, *two = NULL;
        struct store *store = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &one), 0);
        expect_int(keyset_new("production", "b", &two), 0);
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        expect_int(store_stage(store, one, NULL), 0);
        expect_int(store_stage(store, two, NULL), 0);
        expect_int(count_files(PATH_STATE), 2);
        store_free(store);
        expect_int(count_files(PATH_STATE), 0);
}

TEST(staging_twice_commits_the_later_one) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL, *back = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        expect_int(store_stage(store, set, NULL), 0);
        expect(add_key(set, ALGORITHM_HS256, &some_times));
        expect_int(store_stage(store, set, NULL), 0);
        expect_int(store_commit(store, NULL), 0);
        expect_int(store_load(store, "production", "a", &back, NULL), 0);
        expect_int(back->generation, 2);
        expect_int(back->n_keys, 1);
        expect_int(count_files(PATH_STATE), 1);
}

TEST(many_secrets_in_two_environments_are_committed_and_listed_in_order) {
        _cleanup_(store_freep) struct store *store = NULL;
        struct store_name *names = NULL;
        size_t n = 0;

        expect(begin());
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        for (unsigned i = 0; i < 3000; i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL;
                char name[32];

                (void) snprintf(name, sizeof(name), "s%04u", (i * 7) % 3000);
                expect_int(keyset_new(i % 2 ? "production" : "staging", name, &set), 0);
                expect(add_key(set, ALGORITHM_HS256, &some_times));
                expect_int(store_stage(store, set, NULL), 0);
        }
        expect_int(store_list(store, &names, &n), 0);
        expect_int(n, 0);
        expect_int(store_commit(store, NULL), 0);
        expect_int(store_commit(store, NULL), 0); /* nothing left to do */
        expect_int(store_list(store, &names, &n), 0);
        bool sorted = true, loads = true;
        for (size_t i = 0; i < n; i++) {
                _cleanup_(keyset_freep) struct keyset *set = NULL;

                if (i > 0) {
                        int c = strcmp(names[i - 1].environment, names[i].environment);
                        sorted = sorted &&
                                        (c < 0 || (c == 0 && strcmp(names[i - 1].name, names[i].name) < 0));
                }
                loads = loads && store_load(store, names[i].environment, names[i].name, &set, NULL) == 0;
        }
        store_names_free(names, n);
        expect_int(n, 3000);
        expect(sorted);
        expect(loads);
        expect_int(count_files(PATH_STATE), 3000);
}

TEST(a_list_has_refused_files_and_nothing_else) {
        _cleanup_(store_freep) struct store *store = NULL;
        struct store_name *names = NULL;
        size_t n = 0;

        expect(begin());
        expect_int(store_open(tree, kek, false, 0, &store, NULL), 0);
        expect_int(store_list(store, &names, &n), 0);
        expect_int(n, 0);
        store_free(TAKE_PTR(store));

        expect_int(store_one("production", "a"), 0);
        expect(write_file(ENV_FOLDER "/torn.jwe", "x", 1));
        expect_int(symlink("a.jwe", in_scratch(ENV_FOLDER "/link.jwe")), 0);
        expect(write_file(ENV_FOLDER "/.#a.jwe.0123abcd", "x", 1));
        expect(write_file(ENV_FOLDER "/a.jwe.refused-20200101T000000Z", "x", 1));
        expect(write_file(ENV_FOLDER "/notes", "x", 1));
        expect(write_file(ENV_FOLDER "/.jwe", "x", 1));
        expect(write_file(ENV_FOLDER "/Upper.jwe", "x", 1));
        expect(write_file(PATH_STATE "/kek.cred", "x", 1));
        expect(write_file(PATH_STATE "/stray.jwe", "x", 1));
        expect_int(store_open(tree, kek, false, 0, &store, NULL), 0);
        expect_int(store_list(store, &names, &n), 0);
        bool right = n == 3 && strcmp(names[0].name, "a") == 0 && strcmp(names[1].name, "link") == 0 &&
                        strcmp(names[2].name, "torn") == 0;
        store_names_free(names, n);
        expect(right);
}

TEST(only_our_stale_temporary_files_are_removed_and_only_with_the_lock) {
        static const char *const others[] = {
                ENV_FOLDER "/.#a.jwe.0123abc",   ENV_FOLDER "/.#a.jwe.0123ABCD",
                ENV_FOLDER "/.#a.jwe.0123abcde", ENV_FOLDER "/.#.jwe.0123abcd",
                ENV_FOLDER "/#a.jwe.0123abcd",   ENV_FOLDER "/.#a.jwt.0123abcd",
                ENV_FOLDER "/.#A.jwe.0123abcd",  ENV_FOLDER "/.#a.jwe",
                PATH_STATE "/.#a.jwe.0123abcd",  ENV_FOLDER "/.a.jwe.0123abcd",
        };
        _cleanup_(store_freep) struct store *store = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                expect(write_file(others[i], "x", 1));
        expect(write_file(ENV_FOLDER "/.#a.jwe.0123abcd", "x", 1));
        expect_int(mkfifo(in_scratch(ENV_FOLDER "/.#a.jwe.aaaaaaaa"), 0600), 0);
        expect_int(store_open(tree, kek, false, 0, &store, NULL), 0);
        store_free(TAKE_PTR(store));
        expect_int(access(in_scratch(ENV_FOLDER "/.#a.jwe.0123abcd"), F_OK), 0);
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        expect(access(in_scratch(ENV_FOLDER "/.#a.jwe.0123abcd"), F_OK) < 0);
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                expect_int(access(in_scratch(others[i]), F_OK), 0);
        expect_int(access(in_scratch(ENV_FOLDER "/.#a.jwe.aaaaaaaa"), F_OK), 0);
}

TEST(one_writer_at_a_time_even_within_a_process) {
        _cleanup_(store_freep) struct store *writer = NULL, *second = NULL, *reader = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_open(tree, kek, true, 0, &writer, &reason), 0);
        expect_int(store_open(tree, kek, true, 0, &second, &reason), -EAGAIN);
        expect(reason);
        expect_int(store_open(tree, kek, false, 0, &reader, &reason), 0);
        expect_int(store_load(reader, "production", "a", &set, &reason), 0);
        expect_int(store_stage(reader, set, &reason), -EINVAL);
        store_free(TAKE_PTR(writer));
        expect_int(store_open(tree, kek, true, 0, &second, &reason), 0);
}

TEST(the_holder_of_the_lock_is_named) {
        _cleanup_(store_freep) struct store *writer = NULL;
        char wanted[64];
        int status;
        pid_t pid;

        expect(begin());
        expect_int(store_open(tree, kek, true, 0, &writer, NULL), 0);
        (void) snprintf(wanted, sizeof(wanted), "process %d is at work in ", (int) getpid());
        pid = fork();
        if (pid == 0) {
                struct store *second = NULL;
                char *reason = NULL;

                _exit(store_open(tree, NULL, true, 0, &second, &reason) == -EAGAIN &&
                                                      strncmp(reason, wanted, strlen(wanted)) == 0
                                      ? 0
                                      : 1);
        }
        expect(pid > 0 && waitpid(pid, &status, 0) == pid);
        expect_int(status, 0);
}

/* Finds the store locked, says so and waits for it. */
static int wait_for_store(int locked, int found) {
        struct store *store = NULL;
        char byte;

        if (read(locked, &byte, 1) != 1 || store_open(tree, NULL, true, 0, &store, NULL) != -EAGAIN ||
            write(found, "x", 1) != 1)
                return 1;
        return store_open(tree, NULL, true, 60, &store, NULL) == 0 ? 0 : 2;
}

TEST(a_second_writer_can_wait) {
        struct store *writer = NULL;
        int locked[2], found[2], status;
        char byte;
        pid_t pid;

        expect(begin());
        expect_int(pipe(locked), 0);
        expect_int(pipe(found), 0);
        pid = fork(); /* before the lock is taken: a child shares the open file, and so the lock */
        if (pid == 0) {
                (void) close(locked[1]); /* so that the end of a test that failed is seen */
                _exit(wait_for_store(locked[0], found[1]));
        }
        expect(pid > 0);
        expect_int(store_open(tree, kek, true, 0, &writer, NULL), 0);
        expect_int(write(locked[1], "x", 1), 1);
        expect_int(read(found[0], &byte, 1), 1);
        store_free(writer);
        expect(waitpid(pid, &status, 0) == pid);
        expect_int(status, 0);
        for (unsigned i = 0; i < 2; i++) {
                (void) close(locked[i]);
                (void) close(found[i]);
        }
}

TEST(a_refused_file_is_set_aside_whole_and_never_over_another) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL, *before = NULL;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &before, &size), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        for (unsigned i = 0; i < 3; i++) {
                _cleanup_free_ char *path = NULL, *after = NULL;
                size_t after_size;

                expect_int(store_set_aside(store, "production", "a", &path), 0);
                expect(strstr(path, "/production/a.jwe.refused-2"));
                expect(strncmp(path, scratch, strlen(scratch)) == 0);
                expect_int(tree_read_file(tree, path + strlen(scratch), STORE_FILE_MAX, &after, &after_size),
                           0);
                expect(after_size == size && memcmp(after, before, size) == 0);
                expect(access(in_scratch(FILE_A), F_OK) == 0); /* in its place until another takes it */
        }
        expect_int(count_files(PATH_STATE), 4);
        expect(unlink(in_scratch(FILE_A)) == 0);
        _cleanup_free_ char *path = NULL;
        expect_int(store_set_aside(store, "production", "a", &path), -ENOENT);
}

TEST(what_was_set_aside_is_put_back_unless_something_has_taken_its_place) {
        _cleanup_free_ char *reason = NULL, *of_file = NULL, *of_other = NULL, *of_folder = NULL;
        _cleanup_(store_freep) struct store *store = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_set_aside(store, "production", "a", &of_file), 0);
        store_put_back(store, "production", "a", of_file);
        expect(access(of_file, F_OK) < 0);
        expect(access(in_scratch(FILE_A), F_OK) == 0);

        expect_int(store_set_aside(store, "production", "a", &of_other), 0);
        expect(unlink(in_scratch(FILE_A)) == 0 && write_file(FILE_A, "x", 1));
        store_put_back(store, "production", "a", of_other);
        expect(access(of_other, F_OK) == 0);

        expect(unlink(in_scratch(FILE_A)) == 0 && mkdir(in_scratch(FILE_A), 0700) == 0);
        expect_int(store_set_aside(store, "production", "a", &of_folder), 0);
        expect(access(in_scratch(FILE_A), F_OK) < 0);
        store_put_back(store, "production", "a", of_folder);
        expect(access(in_scratch(FILE_A), F_OK) == 0 && access(of_folder, F_OK) < 0);
}

TEST(the_last_generation_is_not_passed) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL, *back = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        set->generation = INT64_MAX - 1;
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        expect_int(store_stage(store, set, NULL), 0);
        expect_int(store_commit(store, NULL), 0);
        expect_int(store_load(store, "production", "a", &back, NULL), 0);
        expect(back->generation == INT64_MAX);
        expect_int(store_stage(store, back, NULL), -ERANGE);
}

TEST(writing_the_same_set_twice_gives_different_text) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_free_ char *one = NULL, *two = NULL;

        expect(begin());
        expect_int(keyset_new("production", "a", &set), 0);
        expect_int(store_open(tree, kek, true, 0, &store, NULL), 0);
        expect_int(store_stage(store, set, NULL), 0);
        expect_int(store_commit(store, NULL), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &one, NULL), 0);
        set->generation = 1 - 1;
        expect_int(unlink(in_scratch(FILE_A)), 0);
        expect_int(store_stage(store, set, NULL), 0);
        expect_int(store_commit(store, NULL), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &two, NULL), 0);
        char *iv_one = strstr(one, ".."), *iv_two = strstr(two, "..");
        expect(iv_one && iv_two && strncmp(iv_one, iv_two, 18) != 0);
        expect(iv_one - one == iv_two - two && strncmp(one, two, (size_t) (iv_one - one)) == 0);
}

TEST(no_secret_memory_is_left_behind) {
        static size_t before;

        /* OpenSSL keeps its own; what the store takes it gives back. */
        before = secret_bytes_in_use();
        expect(begin());
        expect_int(store_one("production", "a"), 0);
        _cleanup_free_ char *reason = NULL;
        expect_int(load_a(&reason), 0);
        expect_int(secret_bytes_in_use(), before);
}

/* The header of production/a as text. */
static char *header_of_a(void) {
        _cleanup_free_ char *text = NULL;
        _cleanup_(secret_freep) struct secret *json = NULL;
        size_t size;

        if (tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size) < 0 ||
            base64url_decode(text, (size_t) (strchr(text, '.') - text), &json) < 0)
                return NULL;
        return strdup((const char *) json->data);
}

TEST(resealing_changes_the_key_and_nothing_else) {
        _cleanup_(kek_freep) struct kek *both = NULL;
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *before = NULL, *after = NULL, *none = NULL;
        _cleanup_(secret_freep) struct secret *was = NULL, *is = NULL;
        _cleanup_free_ char *reason = NULL, *old_header = NULL, *new_header = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect_int(store_one("production", "b"), 0);
        expect_int(load_with(kek, "production", "a", &before, &reason), 0);
        expect_int(store_set_encode(before, &was), 0);
        expect((old_header = header_of_a()));
        both = make_kek("kek-that-is-new-", 9);
        both->previous = make_kek("kek-of-this-host", 7);

        expect_int(store_open(tree, both, true, 0, &store, &reason), 0);
        expect_int(store_verify(store, "production", "a", &reason), 1);
        expect_int(store_reseal(store, "production", "a", &reason), 1);
        expect_int(store_verify(store, "production", "a", &reason), 1); /* not before the commit */
        expect_int(store_commit(store, &reason), 0);
        expect_int(store_sync(store, &reason), 0);
        expect_int(store_verify(store, "production", "a", &reason), 0);
        expect_int(store_reseal(store, "production", "a", &reason), 0);
        expect_int(store_verify(store, "production", "b", &reason), 1); /* the other still opens */
        expect_int(store_reseal(store, "production", "c", &reason), -ENOENT);
        store_free(TAKE_PTR(store));

        expect_int(load_with(kek, "production", "a", &none, &reason), -EKEYREJECTED);
        expect_int(load_with(kek, "production", "b", &none, &reason), 0);
        expect_int(load_with(both, "production", "a", &after, &reason), 0);
        expect_int(store_set_encode(after, &is), 0);
        expect(secret_equal(was, is));
        expect_int(after->generation, before->generation);
        expect((new_header = header_of_a()));
        char *kid = strstr(new_header, both->kid);
        expect(kid);
        memcpy(kid, kek->kid, strlen(kek->kid));
        expect_string(new_header, old_header);
}

TEST(new_files_are_written_under_the_new_key_during_a_rekey) {
        _cleanup_(kek_freep) struct kek *both = make_kek("kek-that-is-new", 9);
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_(keyset_freep) struct keyset *set = NULL;
        _cleanup_free_ char *reason = NULL;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        both->previous = make_kek("kek-of-this-host", 7);
        expect_int(store_open(tree, both, true, 0, &store, &reason), 0);
        expect_int(store_load(store, "production", "a", &set, &reason), 0);
        expect_int(store_stage(store, set, &reason), 0);
        expect_int(store_commit(store, &reason), 0);
        expect_int(store_verify(store, "production", "a", &reason), 0);
}

TEST(what_cannot_be_opened_is_not_resealed) {
        _cleanup_(kek_freep) struct kek *both = make_kek("kek-that-is-new", 9);
        _cleanup_(store_freep) struct store *store = NULL, *reader = NULL;
        _cleanup_free_ char *reason = NULL, *text = NULL;
        size_t size;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        both->previous = make_kek("kek-of-this-host", 8); /* of that name, and another */
        expect_int(store_open(tree, both, true, 0, &store, &reason), 0);
        expect_int(store_verify(store, "production", "a", &reason), -EBADMSG);
        expect_int(store_reseal(store, "production", "a", &reason), -EBADMSG);
        expect(strstr(reason, "is not authentic"));
        store_use_kek(store, other_kek);
        expect_int(store_verify(store, "production", "a", &reason), -EKEYREJECTED);
        expect_int(store_reseal(store, "production", "a", &reason), -EKEYREJECTED);
        expect_int(store_commit(store, &reason), 0);
        expect_int(tree_read_file(tree, FILE_A, STORE_FILE_MAX, &text, &size), 0);
        expect_int(load_a(&reason), 0);
        expect_int(store_open(tree, kek, false, 0, &reader, &reason), 0);
        expect_int(store_reseal(reader, "production", "a", &reason), -EINVAL);
}

TEST(a_survey_passes_over_no_folder_and_counts_what_was_set_aside) {
        _cleanup_(store_freep) struct store *store = NULL;
        _cleanup_free_ char *reason = NULL, *example = NULL, *unused = NULL;
        size_t n = 99;

        expect(begin());
        expect_int(store_one("production", "a"), 0);
        expect(write_file(PATH_STATE "/kek.cred", "x", 1));
        expect_int(mkdir(in_scratch(PATH_STATE "/Not-ours"), 0777), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_survey(store, &n, &unused, &reason), 0);
        expect_int(n, 0);
        expect(!unused);
        expect(write_file(ENV_FOLDER "/b.jwe.refused-20200101T000000Z-2", "x", 1));
        expect(write_file(ENV_FOLDER "/.jwe.refused-20200101T000000Z", "x", 1));
        expect_int(store_survey(store, &n, &example, &reason), 0);
        expect_int(n, 1);
        expect(strstr(example, "/production/b.jwe.refused-20200101T000000Z-2"));

        store_free(TAKE_PTR(store));
        expect_int(chmod(in_scratch(ENV_FOLDER), 0770), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_survey(store, &n, &example, &reason), -EPERM);
        expect(strstr(reason, "production can be written by others than root"));
        store_free(TAKE_PTR(store));
        expect_int(rename(in_scratch(ENV_FOLDER), in_scratch("/var/elsewhere")), 0);
        expect_int(symlink("/var/elsewhere", in_scratch(ENV_FOLDER)), 0);
        expect_int(symlink(in_scratch("/var"), in_scratch(PATH_STATE "/link")), 0);
        expect_int(store_open(tree, kek, true, 0, &store, &reason), 0);
        expect_int(store_survey(store, &n, &example, &reason), -EPERM);
        expect(strstr(reason, "is not a folder"));
}

int main(void) {
        const char *tmp = getenv("TMPDIR");

        if (geteuid() != 0) {
                puts("1..0 # SKIP needs root");
                return 0;
        }
        (void) snprintf(scratch, sizeof(scratch), "%s/keyrota-store-XXXXXX", tmp ? tmp : "/tmp");
        if (jwk_init() < 0 || !mkdtemp(scratch) || atexit(remove_scratch) != 0 ||
            tree_open(scratch, &tree) < 0) {
                puts("Bail out! no scratch directory");
                return EXIT_FAILURE;
        }
        kek = make_kek("kek-of-this-host", 7);
        other_kek = make_kek("kek-of-another", 8);
        return tap_main();
}
