#include "requests.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "radius.h"

static uint16_t u16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static uint8_t *whole_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        fail("%s cannot be read", path);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size + 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size)
        fail("%s cannot be read", path);
    fclose(file);
    return bytes;
}

/* What would be written beyond the end of a request is a mistake in the options, found before anything is sent. */
static void check(const struct request *one, size_t place, const struct options *options) {
    if (options->id_at >= 0 && options->id_at + options->id_bytes > one->payload_length)
        fail("request %zu is too short for its id", place);
    if (options->random_at >= 0 && options->random_at + options->random_bytes > one->payload_length)
        fail("request %zu is too short for its random bytes", place);
    if (options->radius && !radius_fits(one->payload, one->payload_length))
        fail("request %zu cannot be signed", place);
    if (one->source && ntohl(one->source) >> 24 != 127)
        fail("request %zu comes from outside of 127.0.0.0/8", place);
}

struct requests read_requests(const struct options *options) {
    enum { HEAD = 10 };
    size_t size, room = 1024;
    const uint8_t *at = whole_file(options->requests, &size), *end = at + size;
    struct requests found = {.all = malloc(room * sizeof *found.all)};
    while (at < end) {
        if (found.count == room)
            found.all = realloc(found.all, (room *= 2) * sizeof *found.all);
        if (!found.all)
            fail("no memory");
        struct request one = {0};
        if (end - at < HEAD)
            fail("%s is cut off", options->requests);
        one.lane = u16(at);
        one.payload_length = u16(at + 2);
        memcpy(&one.source, at + 4, 4);
        one.expected_length = u16(at + 8);
        one.expected = at + HEAD;
        one.payload = one.expected + one.expected_length;
        if (end - one.expected < one.expected_length + one.payload_length)
            fail("%s is cut off", options->requests);
        at = one.payload + one.payload_length;
        if (options->marker) {
            size_t length = strlen(options->marker);
            const uint8_t *hit = memmem(one.payload, one.payload_length, options->marker, length);
            if (!hit || hit + length + 8 > at)
                fail("request %zu has no marker", found.count);
            one.marker_at = (uint16_t)(hit + length - one.payload);
        }
        check(&one, found.count, options);
        found.sources |= one.source != 0;
        if (one.payload_length > found.longest)
            found.longest = one.payload_length;
        found.all[found.count++] = one;
    }
    if (!found.count)
        fail("%s is empty", options->requests);
    return found;
}
