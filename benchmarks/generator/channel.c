#include "channel.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct channel new_channel(const struct options *options) {
    struct channel channel = {.mask = UINT32_MAX, .room = 65536};
    if (options->id_at >= 0 && options->id_bytes < 4)
        channel.mask = (1u << 8 * options->id_bytes) - 1;
    if (channel.mask < channel.room)
        channel.room = channel.mask + 1;
    channel.flights = calloc(channel.room, sizeof *channel.flights);
    if (!channel.flights)
        fail("no memory");
    return channel;
}

static struct flight *flight_of(const struct channel *channel, uint32_t id) {
    return &channel->flights[id & (channel->room - 1)];
}

bool has_room(const struct channel *channel) {
    return flight_of(channel, channel->next)->state != FLYING &&
           ((channel->next + 1) & channel->mask) != channel->oldest;
}

static void write_hex(uint8_t *at, uint32_t id) {
    for (int place = 7; place >= 0; place--, id >>= 4)
        at[place] = (uint8_t)"0123456789abcdef"[id & 15];
}

static bool read_hex(const uint8_t *at, uint32_t *id) {
    *id = 0;
    for (int place = 0; place < 8; place++) {
        uint8_t digit = at[place];
        if (digit >= '0' && digit <= '9')
            *id = *id << 4 | (uint32_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            *id = *id << 4 | (uint32_t)(digit - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* Xorshift: what matters is only that no two requests are alike. */
static void write_random(uint8_t *at, int length) {
    static uint64_t state = 88172645463325252u;
    for (int place = 0; place < length; place++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        at[place] = (uint8_t)(state >> 32);
    }
}

void depart(struct channel *channel, const struct options *options, const struct request *request, size_t place,
            uint8_t *payload, uint64_t due) {
    uint32_t id = channel->next;
    *flight_of(channel, id) = (struct flight){.due = due, .id = id, .request = (uint32_t)place, .state = FLYING};
    channel->next = (id + 1) & channel->mask;
    channel->flying++;
    if (options->marker)
        write_hex(payload + request->marker_at, id);
    if (options->id_at >= 0)
        for (int byte = 0; byte < options->id_bytes; byte++)
            payload[options->id_at + byte] = (uint8_t)(id >> 8 * (options->id_bytes - 1 - byte));
    if (options->random_at >= 0)
        write_random(payload + options->random_at, options->random_bytes);
    if (options->radius) {
        radius_sign(payload, request->payload_length);
        memcpy(flight_of(channel, id)->authenticator, payload + 4, RADIUS_AUTHENTICATOR);
    }
}

/* Find which request an answer is to. */
static bool read_id(const struct channel *channel, const struct options *options, const uint8_t *answer,
                    size_t length, uint32_t *id) {
    if (options->in_order) {
        *id = channel->oldest;
        return true;
    }
    if (options->marker) {
        size_t marked = strlen(options->marker);
        const uint8_t *hit = memmem(answer, length, options->marker, marked);
        return hit && hit + marked + 8 <= answer + length && read_hex(hit + marked, id);
    }
    if ((size_t)options->answer_id_at + (size_t)options->id_bytes > length)
        return false;
    *id = 0;
    for (int byte = 0; byte < options->id_bytes; byte++)
        *id = *id << 8 | answer[options->answer_id_at + byte];
    return true;
}

/* Where order tells which answer is whose, what was given up still has its place in it. */
static void skip_done(struct channel *channel, const struct options *options) {
    while (channel->oldest != channel->next) {
        enum state state = flight_of(channel, channel->oldest)->state;
        if (state == FLYING || (state == LOST && options->in_order))
            return;
        channel->oldest = (channel->oldest + 1) & channel->mask;
    }
}

void arrive(struct channel *channel, const struct options *options, const struct requests *requests,
            struct scores *scores, const uint8_t *answer, size_t length, uint64_t now) {
    uint32_t id;
    struct flight *flight;
    if (!read_id(channel, options, answer, length, &id) || (flight = flight_of(channel, id))->id != id ||
        flight->state == FREE) {
        scores->unexpected++;
        return;
    }
    if (flight->state == LOST) {
        scores->late++;
    } else {
        channel->flying--;
        scores->ended = now;
        bool forged = options->radius && !radius_verified(answer, length, flight->authenticator);
        judge(scores, requests, flight->request, answer, length, options->unchecked, forged, now - flight->due);
    }
    flight->state = FREE;
    skip_done(channel, options);
}

uint64_t give_up(struct channel *channel, const struct options *options, uint64_t since) {
    uint64_t lost = 0;
    for (uint32_t id = channel->oldest; id != channel->next; id = (id + 1) & channel->mask) {
        struct flight *flight = flight_of(channel, id);
        if (flight->state != FLYING)
            continue;
        if (flight->due >= since)
            break;
        flight->state = LOST;
        channel->flying--;
        lost++;
    }
    skip_done(channel, options);
    return lost;
}
