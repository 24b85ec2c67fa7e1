/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The text encodings against the vectors of RFC 4648 section 10, and what the strict decoder refuses. */

#include "base64.h"
#include "tap.h"

static const struct {
        const char *bytes, *base64, *base64url, *hex;
} vectors[] = {
        { "", "", "", "" },
        { "f", "Zg==", "Zg", "66" },
        { "fo", "Zm8=", "Zm8", "666f" },
        { "foo", "Zm9v", "Zm9v", "666f6f" },
        { "foob", "Zm9vYg==", "Zm9vYg", "666f6f62" },
        { "fooba", "Zm9vYmE=", "Zm9vYmE", "666f6f6261" },
        { "foobar", "Zm9vYmFy", "Zm9vYmFy", "666f6f626172" },
        { "\xfb\xff\xbf\x3e", "+/+/Pg==", "-_-_Pg", "fbffbf3e" },
};

TEST(bytes_are_encoded_as_the_rfc_says) {
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                _cleanup_(secret_freep) struct secret *base64 = NULL, *base64url = NULL, *hex = NULL;
                size_t size = strlen(vectors[i].bytes);

                expect_int(base64_encode(vectors[i].bytes, size, &base64), 0);
                expect_string((const char *) base64->data, vectors[i].base64);
                expect_int(base64->size, strlen(vectors[i].base64));
                expect_int(base64url_encode(vectors[i].bytes, size, &base64url), 0);
                expect_string((const char *) base64url->data, vectors[i].base64url);
                expect_int(base64url->size, strlen(vectors[i].base64url));
                expect_int(hex_encode(vectors[i].bytes, size, &hex), 0);
                expect_string((const char *) hex->data, vectors[i].hex);
                expect_int(hex->size, strlen(vectors[i].hex));
        }
}

TEST(base64url_comes_back_as_the_same_bytes) {
        for (size_t size = 0; size < 200; size++) {
                _cleanup_(secret_freep) struct secret *bytes = NULL, *text = NULL, *again = NULL;

                expect_int(secret_new(size, &bytes), 0);
                for (size_t i = 0; i < size; i++)
                        bytes->data[i] = (uint8_t) (i * 151 + size);
                expect_int(base64url_encode(bytes->data, size, &text), 0);
                expect_int(base64url_decode((const char *) text->data, text->size, &again), 0);
                expect(secret_equal(bytes, again));
                expect_int(again->data[size], 0);
        }
}

TEST(anything_but_strict_base64url_is_refused) {
        static const char *const bad[] = {
                "Zg==", "Zg=", "Zm9vYg==", "=", "==", "====", "Z===", "Zm9v=",    /* padding */
                "Z", "Zm9vY",                                                     /* impossible length */
                "Zh", "Zm9", "Zm9vYh",                                            /* stray bits */
                "+/+/Pg", "-_+/", "Zm9v!", "Zm.v", "Zm\xc3\xa4",                  /* alphabet */
                " Zm9v", "Zm9v ", "Zm9v\n", "Zm\n9", "\nZm9", "Zm9 ", "Zm 9v", "\tZm9vYmF", "    ", "Zm9v    ", "-", "--", "-\n--",
        };
        struct secret *secret = NULL;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                int r = base64url_decode(bad[i], strlen(bad[i]), &secret);

                if (r != -EBADMSG)
                        printf("# \"%s\"\n", bad[i]);
                expect_int(r, -EBADMSG);
                expect(!secret);
        }
        expect_int(base64url_decode("Zm9v\0Zm9", 8, &secret), -EBADMSG);
}

TEST(nothing_stays_in_use) {
        expect_int(secret_bytes_in_use(), 0);
}

int main(void) {
        return tap_main();
}
