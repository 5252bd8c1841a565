/* How long answers took, and what became of the requests. */
#ifndef SCORES_H
#define SCORES_H

#include <stddef.h>
#include <stdint.h>

#include "requests.h"

/* Nanoseconds in buckets: 64 for each power of two, so that a value is off by 1.6 % at most. */
enum { FINENESS = 64, BUCKETS = 40 * FINENESS };

struct histogram {
    uint64_t buckets[BUCKETS], count, most;
};

void put(struct histogram *histogram, uint64_t nanoseconds);

enum { SHOWN = 5, EXCERPT = 400 };

/* A wrong answer that is shown. */
struct wrong {
    size_t request;
    size_t length;
    uint8_t answer[EXCERPT];
};

struct scores {
    struct histogram latency;
    struct histogram lateness; /* of the generator itself: open loop, when a request was sent after its time */
    uint64_t sent;
    uint64_t answered;
    uint64_t lost;       /* no answer came in time */
    uint64_t late;       /* of these, an answer came after all */
    uint64_t unexpected; /* answers to nothing */
    uint64_t wrong;
    struct wrong first_wrong[SHOWN];
    uint64_t began, ended; /* the first request, the last answer */
    uint64_t idle;         /* nanoseconds in which there was nothing to send or to read */
};

/* Count an answer to a request, right or wrong. If it is not `unchecked`, it is wrong without the expected bytes. If
   it is `forged`, it is wrong in any case. */
void judge(struct scores *scores, const struct requests *requests, size_t request, const uint8_t *answer,
           size_t length, bool unchecked, bool forged, uint64_t nanoseconds);

/* Write all as one line of JSON. */
void print_scores(const struct scores *scores, const struct requests *requests);

#endif
