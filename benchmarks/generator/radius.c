#include "radius.h"

#include <string.h>

#include "md5.h"

enum {
    ACCOUNTING_REQUEST = 4,
    ACCOUNTING_RESPONSE = 5,
    MESSAGE_AUTHENTICATOR = 80,
    SENT_AT = 4, /* where the authenticator of a packet begins */
    HEAD = 20,
    SIGNED_AT = HEAD + 2, /* where the value of the Message-Authenticator begins */
    SIGNED_END = SIGNED_AT + MD5_SIZE,
};

static const char *secret;
static struct md5 inner, outer; /* HMAC-MD5 (RFC 2104) after its pads */

static void begin_hmac(struct md5 *md5, const uint8_t *key, size_t length, uint8_t pad) {
    uint8_t padded[64];
    memset(padded, pad, sizeof padded);
    for (size_t place = 0; place < length; place++)
        padded[place] ^= key[place];
    md5_begin(md5);
    md5_add(md5, padded, sizeof padded);
}

void radius_secret(const char *text) {
    uint8_t digest[MD5_SIZE];
    const uint8_t *key = (const uint8_t *)text;
    size_t length = strlen(text);
    secret = text;
    if (length > 64) {
        struct md5 whole;
        md5_begin(&whole);
        md5_add(&whole, text, length);
        md5_end(&whole, digest);
        key = digest, length = sizeof digest;
    }
    begin_hmac(&inner, key, length, 0x36);
    begin_hmac(&outer, key, length, 0x5c);
}

bool radius_accounts(const uint8_t *packet) { return packet[0] == ACCOUNTING_REQUEST; }

/* The MD5 of a packet with another authenticator, and of the secret. */
static void hash(const uint8_t *packet, size_t length, const uint8_t *authenticator, uint8_t *digest) {
    struct md5 md5;
    md5_begin(&md5);
    md5_add(&md5, packet, SENT_AT);
    md5_add(&md5, authenticator, RADIUS_AUTHENTICATOR);
    md5_add(&md5, packet + HEAD, length - HEAD);
    md5_add(&md5, secret, strlen(secret));
    md5_end(&md5, digest);
}

/* The Message-Authenticator of a packet with another authenticator. */
static void seal(const uint8_t *packet, size_t length, const uint8_t *authenticator, uint8_t *digest) {
    static const uint8_t NOTHING[MD5_SIZE];
    struct md5 md5 = inner;
    md5_add(&md5, packet, SENT_AT);
    md5_add(&md5, authenticator, RADIUS_AUTHENTICATOR);
    md5_add(&md5, packet + HEAD, SIGNED_AT - HEAD);
    md5_add(&md5, NOTHING, sizeof NOTHING);
    md5_add(&md5, packet + SIGNED_END, length - SIGNED_END);
    md5_end(&md5, digest);
    md5 = outer;
    md5_add(&md5, digest, MD5_SIZE);
    md5_end(&md5, digest);
}

static bool is_sealed(const uint8_t *packet, size_t length) {
    return length >= SIGNED_END && packet[HEAD] == MESSAGE_AUTHENTICATOR && packet[HEAD + 1] == MD5_SIZE + 2;
}

static bool is_whole(const uint8_t *packet, size_t length) {
    return length >= HEAD && (size_t)(packet[2] << 8 | packet[3]) == length;
}

bool radius_fits(const uint8_t *packet, size_t length) {
    return is_whole(packet, length) && (radius_accounts(packet) || is_sealed(packet, length));
}

void radius_sign(uint8_t *packet, size_t length) {
    static const uint8_t NOTHING[RADIUS_AUTHENTICATOR];
    if (radius_accounts(packet))
        hash(packet, length, NOTHING, packet + SENT_AT);
    else
        seal(packet, length, packet + SENT_AT, packet + SIGNED_AT);
}

bool radius_verified(const uint8_t *answer, size_t length, const uint8_t authenticator[RADIUS_AUTHENTICATOR]) {
    uint8_t digest[MD5_SIZE];
    if (!is_whole(answer, length))
        return false;
    hash(answer, length, authenticator, digest);
    if (memcmp(digest, answer + SENT_AT, sizeof digest))
        return false;
    if (!is_sealed(answer, length))
        return answer[0] == ACCOUNTING_RESPONSE;
    seal(answer, length, authenticator, digest);
    return !memcmp(digest, answer + SIGNED_AT, sizeof digest);
}
