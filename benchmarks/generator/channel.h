/* One socket or connection, and the requests that are under way on it. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "options.h"
#include "radius.h"
#include "requests.h"
#include "scores.h"

enum state { FREE, FLYING, LOST };

struct flight {
    uint64_t due; /* nanoseconds; what its latency counts from */
    uint32_t id, request;
    enum state state;
    uint8_t authenticator[RADIUS_AUTHENTICATOR]; /* of a request of RADIUS */
};

struct datagrams; /* udp.c */
struct stream;    /* tcp.c */

struct channel {
    int fd;
    uint32_t next;   /* id of the next request; those that fly lie between `oldest` and it */
    uint32_t oldest;
    uint32_t mask;   /* of ids; a channel's flights are a ring of the size that this leaves */
    uint32_t room;
    uint64_t flying;
    struct flight *flights;
    union {
        struct datagrams *datagrams;
        struct stream *stream;
    };
};

struct channel new_channel(const struct options *options);

/* Whether another request can be told from those under way. */
bool has_room(const struct channel *channel);

/* Note a request that is about to be sent; writes its id and random bytes into its payload. */
void depart(struct channel *channel, const struct options *options, const struct request *request, size_t place,
            uint8_t *payload, uint64_t due);

/* Note an answer. */
void arrive(struct channel *channel, const struct options *options, const struct requests *requests,
            struct scores *scores, const uint8_t *answer, size_t length, uint64_t now);

/* Give up what was due before `since`; returns how many. */
uint64_t give_up(struct channel *channel, const struct options *options, uint64_t since);

uint64_t nanoseconds(void);

/* The two ways of sending. `stage` puts a request with the next ones that leave, `leave` sends what is staged,
   `hear` reads what is there without waiting and returns how many answers there were. */
void udp_open(struct channel *channel, const struct options *options, const struct requests *requests);
bool udp_stage(struct channel *channel, const struct options *options, const struct request *request, size_t place,
               uint64_t due);
void udp_leave(struct channel *channel);
uint64_t udp_hear(struct channel *channel, const struct options *options, const struct requests *requests,
                  struct scores *scores);

void tcp_open(struct channel *channel, const struct options *options, const struct requests *requests);
bool tcp_stage(struct channel *channel, const struct options *options, const struct request *request, size_t place,
               uint64_t due);
void tcp_leave(struct channel *channel);
uint64_t tcp_hear(struct channel *channel, const struct options *options, const struct requests *requests,
                  struct scores *scores);

#endif
