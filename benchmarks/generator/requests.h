/* The file of requests; see the docstring of __init__.py for its form. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include <stddef.h>
#include <stdint.h>

#include "options.h"

struct request {
    const uint8_t *payload, *expected; /* an answer is right that holds `expected`; where it is empty, any is */
    uint32_t source;                   /* network order; 0: any */
    uint16_t payload_length, expected_length;
    uint16_t lane;      /* requests of one lane go by one channel, in their order */
    uint16_t marker_at; /* where the 8 digits behind the marker begin */
};

struct requests {
    struct request *all;
    size_t count, longest;
    int sources; /* whether any names where it comes from */
};

struct requests read_requests(const struct options *options);

#endif
