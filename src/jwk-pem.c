/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that somebody else made, from PEM (RFC 7468). The one block is looked for here, so that anything else is refused by its name; OpenSSL
 * decodes it. Calls jwk-openssl.c and OpenSSL. */

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include "jwk-internal.h"
#include "reason.h"

#define BEGIN "-----BEGIN "
#define END "-----END "
#define DASHES "-----"

/* reason NULL: a private key. */
static const struct block_kind {
        const char *label, *reason;
} block_kinds[] = {
        { "PRIVATE KEY", NULL },     /* PKCS#8 */
        { "EC PRIVATE KEY", NULL },  /* SEC1 */
        { "RSA PRIVATE KEY", NULL }, /* PKCS#1 */
        { "ENCRYPTED PRIVATE KEY", "the key is encrypted; decrypt it first, with openssl pkey -in FILE" },
        { "EC PARAMETERS", "a block EC PARAMETERS comes first; leave it out, as openssl pkey -in FILE does" },
        { "OPENSSH PRIVATE KEY", "a key in OpenSSH's own format; PKCS#8 is needed (a copy of the file can be converted with ssh-keygen -p -m PKCS8)" },
        { "PUBLIC KEY", "a public key; the private one is needed" },
        { "RSA PUBLIC KEY", "a public key; the private one is needed" },
        { "CERTIFICATE", "a certificate, which holds a public key; the private one is needed" },
        { "TRUSTED CERTIFICATE", "a certificate, which holds a public key; the private one is needed" },
        { "X509 CERTIFICATE", "a certificate, which holds a public key; the private one is needed" },
        { "CERTIFICATE REQUEST", "a certificate request, which holds a public key; the private one is needed" },
        { "NEW CERTIFICATE REQUEST", "a certificate request, which holds a public key; the private one is needed" },
};

struct text {
        const char *data;
        size_t size;
};

static bool take_prefix(struct text *text, const char *prefix) {
        size_t length = strlen(prefix);

        if (text->size < length || memcmp(text->data, prefix, length) != 0)
                return false;
        text->data += length;
        text->size -= length;
        return true;
}

static void skip_space(struct text *text) {
        while (text->size > 0 && isspace((unsigned char) *text->data)) {
                text->data++;
                text->size--;
        }
}

/* What follows BEGIN: the kind, and the text goes on after the line's dashes. */
static const struct block_kind *take_label(struct text *text) {
        for (size_t i = 0; i < ELEMENTSOF(block_kinds); i++) {
                struct text rest = *text;

                if (take_prefix(&rest, block_kinds[i].label) && take_prefix(&rest, DASHES)) {
                        *text = rest;
                        return &block_kinds[i];
                }
        }
        return NULL;
}

/* Is this one block that holds a private key in the clear, and nothing else? */
static int check_block(struct text text, char **ret_reason) {
        const struct block_kind *kind;
        const char *end;

        if (!take_prefix(&text, BEGIN))
                return reason_set(-EBADMSG, ret_reason, "not PEM, or something stands before its BEGIN line");
        kind = take_label(&text);
        if (!kind)
                return reason_set(-EBADMSG, ret_reason, "the PEM block is not called PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY");
        if (kind->reason)
                return reason_set(-EBADMSG, ret_reason, "%s", kind->reason);

        end = memmem(text.data, text.size, END, strlen(END));
        if (!end)
                return reason_set(-EBADMSG, ret_reason, "the END line of the PEM block is missing");
        /* A header (RFC 1421 section 4.6.1.1), as openssl(1) wrote it before PKCS#8. */
        if (memmem(text.data, (size_t) (end - text.data), ",ENCRYPTED", strlen(",ENCRYPTED")))
                return reason_set(-EBADMSG, ret_reason, "the key is encrypted; decrypt it first, with openssl pkey -in FILE");
        text.size -= (size_t) (end - text.data) + strlen(END);
        text.data = end + strlen(END);
        if (take_label(&text) != kind)
                return reason_set(-EBADMSG, ret_reason, "the END line of the PEM block does not fit its BEGIN line");
        skip_space(&text);
        if (text.size > 0)
                return reason_set(-EBADMSG, ret_reason, memmem(text.data, text.size, BEGIN, strlen(BEGIN)) ?
                                  "more than one PEM block; give the private key alone" : "something follows the PEM block");
        return 0;
}

/* Nobody is asked, whatever this OpenSSL would do by default or by its configuration. */
static int refuse_passphrase(char *passphrase _unused_, size_t size _unused_, size_t *ret_size _unused_, const OSSL_PARAM parameters[] _unused_,
                             void *userdata _unused_) {
        return 0;
}

static void decoder_freep(OSSL_DECODER_CTX **decoder) {
        OSSL_DECODER_CTX_free(*decoder);
}

static int decode(struct text text, EVP_PKEY **ret, char **ret_reason) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        _cleanup_(decoder_freep) OSSL_DECODER_CTX *decoder =
                OSSL_DECODER_CTX_new_for_pkey(&pkey, "PEM", NULL, NULL, EVP_PKEY_KEYPAIR, NULL, NULL);
        const unsigned char *data = (const unsigned char *) text.data;
        size_t size = text.size;

        if (!decoder || OSSL_DECODER_CTX_set_passphrase_cb(decoder, refuse_passphrase, NULL) != 1)
                return -ENOMEM;
        if (OSSL_DECODER_from_data(decoder, &data, &size) != 1 || !pkey)
                return reason_set(-EBADMSG, ret_reason, "the PEM block is damaged, or holds a kind of key that OpenSSL does not know");
        *ret = TAKE_PTR(pkey);
        return 0;
}

static const char *type_of(const EVP_PKEY *pkey) {
        static const char *const types[][2] = { /* OpenSSL's name and ours */
                { "RSA", "RSA" }, { "RSA-PSS", "RSA-PSS" }, { "EC", "EC" }, { "ED25519", "Ed25519" }, { "ED448", "Ed448" },
                { "X25519", "X25519" }, { "X448", "X448" }, { "DSA", "DSA" }, { "DH", "DH" }, { "DHX", "DH" },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (EVP_PKEY_is_a(pkey, types[i][0]))
                        return types[i][1];
        return "unknown";
}

static int check_curve(const EVP_PKEY *pkey, const struct algorithm_info *info, char **ret_reason) {
        char group[64];
        const char *name;
        size_t length;
        int nid = NID_undef;

        if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &length) == 1)
                nid = OBJ_txt2nid(group);
        if (nid != NID_undef && nid == EC_curve_nist2nid(info->openssl_group))
                return 0;
        name = nid == NID_undef ? NULL : EC_curve_nid2nist(nid) ? EC_curve_nid2nist(nid) : OBJ_nid2sn(nid);
        return reason_set(-EBADMSG, ret_reason, "an EC key on the curve %s; %s wants %s", name ? name : "of its own parameters", info->name, info->curve);
}

static int check_type(const EVP_PKEY *pkey, const struct algorithm_info *info, char **ret_reason) {
        const char *type = type_of(pkey), *wanted = info->key_type == KEY_TYPE_OKP ? info->curve : jwk_key_type_name(info->key_type);
        BIGNUM *third = NULL;

        /* RFC 4055 section 1.2: such a key signs by PSS only. */
        if (strcmp(type, "RSA-PSS") == 0 && info->name[0] == 'P')
                type = "RSA";
        if (strcmp(type, wanted) != 0)
                return reason_set(-EBADMSG, ret_reason, "the key is of the type %s; %s wants %s", type, info->name, wanted);
        if (info->key_type == KEY_TYPE_EC)
                return check_curve(pkey, info, ret_reason);
        if (info->key_type == KEY_TYPE_RSA && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1) {
                BN_clear_free(third);
                return reason_set(-EOPNOTSUPP, ret_reason, "the key has more than two primes");
        }
        return 0;
}

static int import(struct text text, enum algorithm algorithm, const char *kid, struct jwk **ret, char **ret_reason) {
        _cleanup_(pkey_freep) EVP_PKEY *pkey = NULL;
        _cleanup_(jwk_freep) struct jwk *jwk = NULL;
        int r;

        skip_space(&text);
        r = check_block(text, ret_reason);
        if (r >= 0)
                r = decode(text, &pkey, ret_reason);
        if (r >= 0)
                r = check_type(pkey, algorithm_info(algorithm), ret_reason);
        if (r >= 0)
                r = jwk_new(algorithm, &jwk);
        if (r < 0)
                return r;
        r = jwk_take_pkey(jwk, pkey);
        if (r == -EIO)
                return reason_set(-EBADMSG, ret_reason, "the PEM block holds no whole private key");
        if (r >= 0)
                r = jwk_adopt(jwk, kid, ret_reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(jwk);
        return 0;
}

int jwk_import_pem(const void *pem, size_t size, enum algorithm algorithm, const char *kid, struct jwk **ret, char **ret_reason) {
        int r;

        if (algorithm_is_symmetric(algorithm))
                return -EINVAL;
        r = import((struct text) { pem, size }, algorithm, kid, ret, ret_reason);
        ERR_clear_error();
        return r;
}
