/* What the command line asks for. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum framing { DATAGRAMS, PREFIXED, RESP, LINES };

struct options {
    struct sockaddr_storage target; /* of 127.0.0.0/8, or ::1: nothing else is ever asked */
    socklen_t target_length;
    enum framing framing;
    const char *requests; /* path of the file */
    uint64_t count;       /* most requests that are sent; the file is begun again where it ends */
    double seconds;       /* for so long at most they are sent */
    double timeout;       /* seconds after which an answer counts as lost */
    int channels;         /* sockets or connections */
    int neighbours;       /* that number of lanes in a row share a channel, as commands of one write do */
    uint64_t outstanding; /* closed loop: so many are under way at once, over all channels */
    double rate;          /* open loop: so many a second, whether or not answers come; 0: closed loop */
    int cpu;              /* -1: any */
    int id_at, id_bytes, answer_id_at; /* where the number of a request stands; id_at -1: not there */
    const char *marker;                /* or behind this text, in 8 hex digits; NULL: not so */
    bool in_order;                     /* or nowhere: answers come in the order of the requests */
    bool unchecked;                    /* of a server that only sends back what it got */
    int random_at, random_bytes;       /* where each request has random bytes of its own; -1: nowhere */
    const char *radius;                /* the secret of RADIUS: requests are signed, answers verified; NULL: not so */
    uint16_t accounting;               /* the port for packets of accounting, network order; 0: that of the target */
};

/* Read the command line; ends the program with status 1 and a word of why where it is wrong. */
struct options read_options(int count, char **words);

/* End the program with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
