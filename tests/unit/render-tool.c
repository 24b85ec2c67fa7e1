/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Test-only: makes fresh keys and writes every rendering of them, for scripts that try them with other
 * software.
 *
 *   render-tool ALGORITHM SIZE DIRECTORY
 *
 * SIZE 0 is the default. Writes DIRECTORY/{sign,verify}.FORMAT.{plain,newline} of a secret whose active key
 * has a deactivated predecessor, old.jwk (what sign was before the rotation) and other.jwk (sign of another
 * secret).
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "render.h"

static int write_file(const char *directory, const char *name, const struct secret *bytes) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return -ENOMEM;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        if (write(fd, bytes->data, bytes->size) != (ssize_t) bytes->size)
                return -EIO;
        return 0;
}

static int write_rendering(const struct keyset *keyset, enum use use, enum format format, bool newline,
                           const char *directory, const char *name) {
        _cleanup_(secret_freep) struct secret *bytes = NULL;
        int r;

        r = render(keyset, use, format, newline, RENDER_ALL_KINDS, &bytes);
        if (r < 0)
                return r;
        return write_file(directory, name, bytes);
}

static int write_all_forms(const struct keyset *keyset, const char *directory) {
        static const char *const uses[] = { [USE_SIGN] = "sign", [USE_VERIFY] = "verify" };
        static const char *const formats[] = {
                [FORMAT_JWK] = "jwk", [FORMAT_JWKS] = "jwks", [FORMAT_PEM] = "pem", [FORMAT_RAW] = "raw",
                [FORMAT_HEX] = "hex", [FORMAT_BASE64] = "base64", [FORMAT_BASE64URL] = "base64url",
        };

        for (enum use use = USE_SIGN; use <= USE_VERIFY; use++)
                for (enum format format = 0; format < FORMAT_COUNT; format++)
                        for (int newline = 0; newline <= 1; newline++) {
                                char name[64];
                                int r;

                                (void) snprintf(name, sizeof(name), "%s.%s.%s", uses[use], formats[format],
                                                newline ? "newline" : "plain");
                                r = write_rendering(keyset, use, format, newline, directory, name);
                                if (r < 0 && r != -EINVAL) /* the format does not carry this algorithm */
                                        return r;
                        }
        return 0;
}

static int add_key(struct keyset *keyset, enum algorithm algorithm, unsigned size,
                   const struct key_times *times) {
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        r = jwk_generate(algorithm, size, &jwk);
        if (r < 0)
                return r;
        r = keyset_add(keyset, jwk, times);
        if (r >= 0)
                jwk = NULL;
        return r;
}

static int run(enum algorithm algorithm, unsigned size, const char *directory) {
        static const struct key_times
                old = { .created = 1000, .activates = 1000, .deactivates = 2000, .destroys = 3000 },
                active = { .created = 1900, .activates = 2000, .deactivates = 4000, .destroys = TIME_NEVER };
        _cleanup_(keyset_freep) struct keyset *keyset = NULL, *other = NULL;
        int r;

        r = keyset_new("test", "interop", &keyset);
        if (r >= 0)
                r = keyset_new("test", "other", &other);
        if (r >= 0)
                r = add_key(keyset, algorithm, size, &old);
        if (r >= 0) /* before the rotation */
                r = write_rendering(keyset, USE_SIGN, FORMAT_JWK, false, directory, "old.jwk");
        if (r >= 0)
                r = add_key(keyset, algorithm, size, &active);
        if (r >= 0)
                r = add_key(other, algorithm, size, &active);
        if (r >= 0)
                r = write_all_forms(keyset, directory);
        if (r >= 0)
                r = write_rendering(other, USE_SIGN, FORMAT_JWK, false, directory, "other.jwk");
        return r;
}

int main(int argc, char *argv[]) {
        unsigned size;
        int algorithm, r;

        if (argc != 4 || (algorithm = algorithm_from_name(argv[1])) < 0) {
                fprintf(stderr, "Usage: render-tool ALGORITHM SIZE DIRECTORY\n");
                return 2;
        }
        size = (unsigned) strtoul(argv[2], NULL, 10);
        r = jwk_init();
        if (r >= 0)
                r = run((enum algorithm) algorithm,
                        size > 0 ? size : algorithm_size_default((enum algorithm) algorithm), argv[3]);
        if (r < 0) {
                fprintf(stderr, "render-tool: %s: %s\n", argv[1], strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
