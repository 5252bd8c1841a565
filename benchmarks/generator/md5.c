#include "md5.h"

#include <string.h>

enum { BLOCK = 64 };

/* The integer parts of 2^32 |sin i| for i from 1 to 64 (RFC 1321 3.4). */
static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
static const uint8_t TURNS[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint32_t turned(uint32_t value, int by) { return value << by | value >> (32 - by); }

static uint32_t little(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void add_block(struct md5 *md5, const uint8_t *block) {
    uint32_t words[16], a = md5->state[0], b = md5->state[1], c = md5->state[2], d = md5->state[3];
    for (int place = 0; place < 16; place++)
        words[place] = little(block + 4 * place);
    for (int step = 0; step < 64; step++) {
        int round = step / 16, word;
        uint32_t mixed;
        switch (round) {
        case 0: mixed = (b & c) | (~b & d), word = step; break;
        case 1: mixed = (b & d) | (c & ~d), word = (5 * step + 1) % 16; break;
        case 2: mixed = b ^ c ^ d, word = (3 * step + 5) % 16; break;
        default: mixed = c ^ (b | ~d), word = 7 * step % 16;
        }
        uint32_t next = b + turned(a + mixed + words[word] + SINES[step], TURNS[round][step % 4]);
        a = d, d = c, c = b, b = next;
    }
    md5->state[0] += a, md5->state[1] += b, md5->state[2] += c, md5->state[3] += d;
}

void md5_begin(struct md5 *md5) {
    *md5 = (struct md5){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

void md5_add(struct md5 *md5, const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    size_t held = md5->length % BLOCK;
    md5->length += length;
    while (length) {
        size_t part = length < BLOCK - held ? length : BLOCK - held;
        memcpy(md5->held + held, at, part);
        at += part, length -= part, held += part;
        if (held == BLOCK) {
            add_block(md5, md5->held);
            held = 0;
        }
    }
}

void md5_end(struct md5 *md5, uint8_t digest[MD5_SIZE]) {
    static const uint8_t PADDING[BLOCK] = {0x80};
    uint64_t bits = md5->length * 8;
    md5_add(md5, PADDING, 1 + (BLOCK + 55 - md5->length % BLOCK) % BLOCK);
    uint8_t count[8];
    for (int place = 0; place < 8; place++)
        count[place] = (uint8_t)(bits >> 8 * place);
    md5_add(md5, count, sizeof count);
    for (int place = 0; place < MD5_SIZE; place++)
        digest[place] = (uint8_t)(md5->state[place / 4] >> 8 * (place % 4));
}
