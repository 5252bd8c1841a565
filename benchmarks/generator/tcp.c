#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

enum { ROOM = 1 << 18, PREFIX = 4 };

/* Bytes on their way out and in; of each what lies between `begin` and `end` counts. */
struct bytes {
    size_t begin, end;
    uint8_t all[ROOM];
};

struct stream {
    struct bytes out, in;
};

void tcp_open(struct channel *channel, const struct options *options, const struct requests *requests) {
    (void)requests;
    channel->fd = socket(options->target.ss_family, SOCK_STREAM, 0);
    if (channel->fd < 0 || connect(channel->fd, (const struct sockaddr *)&options->target, options->target_length))
        fail("no connection: %s", strerror(errno));
    int on = 1;
    setsockopt(channel->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    channel->stream = calloc(1, sizeof *channel->stream);
    if (!channel->stream)
        fail("no memory");
}

static void make_room(struct bytes *bytes) {
    memmove(bytes->all, bytes->all + bytes->begin, bytes->end - bytes->begin);
    bytes->end -= bytes->begin;
    bytes->begin = 0;
}

bool tcp_stage(struct channel *channel, const struct options *options, const struct request *request, size_t place,
               uint64_t due) {
    struct bytes *out = &channel->stream->out;
    if (ROOM - out->end < (size_t)PREFIX + request->payload_length) {
        make_room(out);
        if (ROOM - out->end < (size_t)PREFIX + request->payload_length)
            return false;
    }
    if (options->framing == PREFIXED) {
        uint32_t length = htonl(request->payload_length);
        memcpy(out->all + out->end, &length, PREFIX);
        out->end += PREFIX;
    }
    memcpy(out->all + out->end, request->payload, request->payload_length);
    depart(channel, options, request, place, out->all + out->end, due);
    out->end += request->payload_length;
    if (options->framing == LINES)
        out->all[out->end++] = '\n';
    return true;
}

void tcp_leave(struct channel *channel) {
    struct bytes *out = &channel->stream->out;
    if (out->begin == out->end)
        return;
    ssize_t sent = send(channel->fd, out->all + out->begin, out->end - out->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        fail("the server has closed a connection: %s", strerror(errno));
    if (sent > 0)
        out->begin += (size_t)sent;
    if (out->begin == out->end)
        out->begin = out->end = 0;
}

/* The length of the line at the begin, its end included; 0: not there yet. */
static size_t line(const uint8_t *at, size_t length) {
    const uint8_t *end = memchr(at, '\n', length);
    return end ? (size_t)(end - at) + 1 : 0;
}

/* The length of a RESP reply: a line, a bulk string, or an array of such; 0: not whole yet. */
static size_t reply(const uint8_t *at, size_t length) {
    size_t head = line(at, length);
    if (!head)
        return 0;
    long number = strtol((const char *)at + 1, NULL, 10);
    if (*at == '$') {
        size_t whole = number < 0 ? head : head + (size_t)number + 2;
        return whole <= length ? whole : 0;
    }
    if (*at == '*') {
        size_t whole = head;
        for (long place = 0; place < number; place++) {
            size_t item = reply(at + whole, length - whole);
            if (!item)
                return 0;
            whole += item;
        }
        return whole;
    }
    if (!memchr("+-:", *at, 3))
        fail("no RESP reply begins with %c", *at);
    return head;
}

/* The length of the answer at the begin, and where in it its payload begins; 0: not whole yet. */
static size_t frame(const struct options *options, const uint8_t *at, size_t length, size_t *payload) {
    *payload = 0;
    if (options->framing == RESP)
        return length ? reply(at, length) : 0;
    if (options->framing == LINES)
        return line(at, length);
    if (length < PREFIX)
        return 0;
    uint32_t size;
    memcpy(&size, at, PREFIX);
    size_t whole = PREFIX + (size_t)ntohl(size);
    if (whole > ROOM)
        fail("an answer of %zu bytes", whole);
    *payload = PREFIX;
    return whole <= length ? whole : 0;
}

uint64_t tcp_hear(struct channel *channel, const struct options *options, const struct requests *requests,
                  struct scores *scores) {
    struct bytes *in = &channel->stream->in;
    if (ROOM - in->end < ROOM / 2)
        make_room(in);
    ssize_t got = recv(channel->fd, in->all + in->end, ROOM - in->end, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        fail("the server has closed a connection");
    if (got < 0)
        return 0;
    in->end += (size_t)got;
    uint64_t now = nanoseconds(), count = 0;
    size_t whole, payload;
    while ((whole = frame(options, in->all + in->begin, in->end - in->begin, &payload))) {
        arrive(channel, options, requests, scores, in->all + in->begin + payload, whole - payload, now);
        in->begin += whole;
        count++;
    }
    if (in->begin == in->end)
        in->begin = in->end = 0;
    else if (in->begin == 0 && in->end == ROOM)
        fail("an answer is longer than %d bytes", ROOM);
    return count;
}
