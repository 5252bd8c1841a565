#include "options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double LONGEST_RUN = 600.0;
static const uint64_t MOST_REQUESTS = 100 * 1000 * 1000;
static const int MOST_CHANNELS = 256;

void fail(const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    fputs("generate: ", stderr);
    vfprintf(stderr, format, rest);
    fputc('\n', stderr);
    va_end(rest);
    exit(1);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most))
        fail("--%s: expected a number from %g to %g, got %s", name, least, most, text);
    return value;
}

/* Read udp:127.0.0.1:4870 or tcp:[::1]:4870. */
static void read_target(struct options *options, const char *text) {
    char host[64];
    const char *colon = strrchr(text, ':');
    bool tcp = !strncmp(text, "tcp:", 4);
    if ((!tcp && strncmp(text, "udp:", 4)) || colon < text + 4 || (size_t)(colon - text - 4) >= sizeof host)
        fail("--target: expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, got %s", text);
    snprintf(host, sizeof host, "%.*s", (int)(colon - text - 4), text + 4);
    uint16_t port = htons((uint16_t)number("target", colon + 1, 1, 65535));
    struct sockaddr_in *v4 = (struct sockaddr_in *)&options->target;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&options->target;
    struct in_addr address;
    if (inet_pton(AF_INET, host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127) {
        *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr = address};
        options->target_length = sizeof *v4;
    } else if (!strcmp(host, "[::1]")) {
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = in6addr_loopback};
        options->target_length = sizeof *v6;
    } else {
        fail("--target: expected an address of 127.0.0.0/8 or [::1], got %s. No other machine is loaded.", text);
    }
    if (!tcp)
        options->framing = DATAGRAMS;
    else if (options->framing == DATAGRAMS)
        fail("a tcp target needs --prefix, --resp or --lines");
}

struct options read_options(int count, char **words) {
    enum { TARGET = 1, REQUESTS, COUNT, SECONDS, TIMEOUT, CHANNELS, OUTSTANDING, RATE, CPU, ID_AT, ID_BYTES,
           ANSWER_ID_AT, MARKER, IN_ORDER, RANDOM_AT, RANDOM_BYTES, PREFIX, RESP_REPLIES,
           LINE_ENDS, UNCHECKED, NEIGHBOURS, RADIUS, ACCOUNTING };
    static const struct option known[] = {
        {"target", required_argument, NULL, TARGET},
        {"requests", required_argument, NULL, REQUESTS},
        {"count", required_argument, NULL, COUNT},
        {"seconds", required_argument, NULL, SECONDS},
        {"timeout", required_argument, NULL, TIMEOUT},
        {"channels", required_argument, NULL, CHANNELS},
        {"neighbours", required_argument, NULL, NEIGHBOURS},
        {"outstanding", required_argument, NULL, OUTSTANDING},
        {"rate", required_argument, NULL, RATE},
        {"cpu", required_argument, NULL, CPU},
        {"id-at", required_argument, NULL, ID_AT},
        {"id-bytes", required_argument, NULL, ID_BYTES},
        {"answer-id-at", required_argument, NULL, ANSWER_ID_AT},
        {"marker", required_argument, NULL, MARKER},
        {"in-order", no_argument, NULL, IN_ORDER},
        {"random-at", required_argument, NULL, RANDOM_AT},
        {"random-bytes", required_argument, NULL, RANDOM_BYTES},
        {"prefix", no_argument, NULL, PREFIX},
        {"resp", no_argument, NULL, RESP_REPLIES},
        {"lines", no_argument, NULL, LINE_ENDS},
        {"unchecked", no_argument, NULL, UNCHECKED},
        {"radius", required_argument, NULL, RADIUS},
        {"accounting", required_argument, NULL, ACCOUNTING},
        {0},
    };
    struct options options = {
        .count = 100000, .seconds = 10, .timeout = 1, .channels = 4, .neighbours = 1, .outstanding = 64,
        .cpu = -1,
        .id_at = -1, .id_bytes = 4, .answer_id_at = -1, .random_at = -1, .framing = DATAGRAMS,
    };
    const char *target = NULL;
    int choice, place;
    while ((choice = getopt_long(count, words, "", known, &place)) != -1) {
        const char *name = choice == '?' ? "" : known[place].name;
        switch (choice) {
        case TARGET: target = optarg; break;
        case REQUESTS: options.requests = optarg; break;
        case COUNT: options.count = (uint64_t)number(name, optarg, 1, (double)MOST_REQUESTS); break;
        case SECONDS: options.seconds = number(name, optarg, 0.001, LONGEST_RUN); break;
        case TIMEOUT: options.timeout = number(name, optarg, 0.001, 60); break;
        case CHANNELS: options.channels = (int)number(name, optarg, 1, MOST_CHANNELS); break;
        case NEIGHBOURS: options.neighbours = (int)number(name, optarg, 1, 65535); break;
        case OUTSTANDING: options.outstanding = (uint64_t)number(name, optarg, 1, 65536); break;
        case RATE: options.rate = number(name, optarg, 1, 1e7); break;
        case CPU: options.cpu = (int)number(name, optarg, 0, 1023); break;
        case ID_AT: options.id_at = (int)number(name, optarg, 0, 65535); break;
        case ID_BYTES: options.id_bytes = (int)number(name, optarg, 1, 4); break;
        case ANSWER_ID_AT: options.answer_id_at = (int)number(name, optarg, 0, 65535); break;
        case MARKER: options.marker = optarg; break;
        case IN_ORDER: options.in_order = true; break;
        case RANDOM_AT: options.random_at = (int)number(name, optarg, 0, 65535); break;
        case RANDOM_BYTES: options.random_bytes = (int)number(name, optarg, 1, 65535); break;
        case PREFIX: options.framing = PREFIXED; break;
        case RESP_REPLIES: options.framing = RESP; break;
        case LINE_ENDS: options.framing = LINES; break;
        case UNCHECKED: options.unchecked = true; break;
        case RADIUS: options.radius = optarg; break;
        case ACCOUNTING: options.accounting = htons((uint16_t)number(name, optarg, 1, 65535)); break;
        default: fail("see options.c");
        }
    }
    if (!target || !options.requests || optind < count)
        fail("expected --target and --requests, and no words except options");
    read_target(&options, target);
    if ((options.id_at >= 0) + (options.marker != NULL) + options.in_order != 1)
        fail("one of --id-at, --marker and --in-order tells how an answer is known");
    if (options.id_bytes == 3)
        fail("--id-bytes: expected 1, 2 or 4, got 3");
    if (options.in_order && options.framing == DATAGRAMS)
        fail("datagrams have no order");
    if (options.radius && (options.framing != DATAGRAMS || options.id_at != 1 || options.id_bytes != 1))
        fail("--radius: expected a udp target, --id-at 1 and --id-bytes 1");
    if (options.accounting && !options.radius)
        fail("--accounting: expected --radius");
    if (options.answer_id_at < 0)
        options.answer_id_at = options.id_at;
    return options;
}
