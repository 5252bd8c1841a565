#include "scores.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static size_t bucket_of(uint64_t value) {
    if (value < FINENESS)
        return (size_t)value;
    int shift = 63 - __builtin_clzll(value) - 6; /* what is left has 7 bits, the first of them set */
    size_t bucket = (size_t)shift * FINENESS + (size_t)(value >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The largest value that a bucket may hold. */
static uint64_t top_of(size_t bucket) {
    if (bucket < 2 * FINENESS)
        return bucket;
    int shift = (int)(bucket / FINENESS) - 1;
    return ((bucket % FINENESS + FINENESS + 1) << shift) - 1;
}

void put(struct histogram *histogram, uint64_t nanoseconds) {
    histogram->buckets[bucket_of(nanoseconds)]++;
    histogram->count++;
    if (nanoseconds > histogram->most)
        histogram->most = nanoseconds;
}

static double percentile(const struct histogram *histogram, double part) {
    uint64_t wanted = (uint64_t)((double)histogram->count * part), seen = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > wanted) {
            uint64_t top = top_of(bucket);
            return (double)(top < histogram->most ? top : histogram->most) / 1e3;
        }
    }
    return (double)histogram->most / 1e3;
}

void judge(struct scores *scores, const struct requests *requests, size_t place, const uint8_t *answer,
           size_t length, bool unchecked, bool forged, uint64_t nanoseconds) {
    const struct request *request = &requests->all[place];
    scores->answered++;
    put(&scores->latency, nanoseconds);
    if (!forged && (unchecked || !request->expected_length ||
                    memmem(answer, length, request->expected, request->expected_length)))
        return;
    if (scores->wrong < SHOWN) {
        struct wrong *kept = &scores->first_wrong[scores->wrong];
        kept->request = place;
        kept->length = length < EXCERPT ? length : EXCERPT;
        memcpy(kept->answer, answer, kept->length);
    }
    scores->wrong++;
}

static void print_bytes(const char *name, const uint8_t *bytes, size_t length) {
    printf(",\"%s\":\"", name);
    for (size_t place = 0; place < length; place++) {
        uint8_t byte = bytes[place];
        if (byte < 32 || byte > 126 || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void print_percentiles(const char *name, const struct histogram *histogram) {
    printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", name,
           percentile(histogram, 0.5), percentile(histogram, 0.9), percentile(histogram, 0.99),
           percentile(histogram, 0.999), (double)histogram->most / 1e3);
}

void print_scores(const struct scores *scores, const struct requests *requests) {
    double elapsed = (double)(scores->ended - scores->began) / 1e9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"rate\":%.1f,\"seconds\":%.6f", elapsed > 0 ? (double)scores->answered / elapsed : 0, elapsed);
    printf(",\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"late\":%" PRIu64,
           scores->sent, scores->answered, scores->lost, scores->late);
    printf(",\"unexpected\":%" PRIu64 ",\"wrong\":%" PRIu64, scores->unexpected, scores->wrong);
    print_percentiles("latency", &scores->latency);
    print_percentiles("lateness", &scores->lateness);
    printf(",\"busy\":%.3f,\"preempted\":%ld",
           elapsed > 0 ? 1 - (double)scores->idle / 1e9 / elapsed : 0, usage.ru_nivcsw);
    printf(",\"histogram\":[");
    const char *comma = "";
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        if (scores->latency.buckets[bucket]) {
            printf("%s[%.3f,%" PRIu64 "]", comma, (double)top_of(bucket) / 1e3, scores->latency.buckets[bucket]);
            comma = ",";
        }
    }
    printf("],\"first_wrong\":[");
    for (size_t place = 0; place < SHOWN && place < scores->wrong; place++) {
        const struct wrong *kept = &scores->first_wrong[place];
        const struct request *request = &requests->all[kept->request];
        printf("%s{\"request\":%zu", place ? "," : "", kept->request);
        print_bytes("expected", request->expected, request->expected_length);
        print_bytes("answer", kept->answer, kept->length);
        putchar('}');
    }
    puts("]}");
}
