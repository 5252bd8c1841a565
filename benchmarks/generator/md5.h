/* MD5 (RFC 1321), so that the generator needs no library. */
#ifndef MD5_H
#define MD5_H

#include <stddef.h>
#include <stdint.h>

enum { MD5_SIZE = 16 };

struct md5 {
    uint32_t state[4];
    uint64_t length; /* bytes that were added */
    uint8_t held[64];
};

void md5_begin(struct md5 *md5);
void md5_add(struct md5 *md5, const void *bytes, size_t length);
void md5_end(struct md5 *md5, uint8_t digest[MD5_SIZE]);

#endif
