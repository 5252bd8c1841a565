#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"

/* Datagrams of one system call. */
enum { BURST = 64, ANSWER_ROOM = 16384 };

union control {
    struct cmsghdr head; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct datagrams {
    struct mmsghdr staged[BURST];
    struct iovec parts[BURST];
    union control sources[BURST];
    struct sockaddr_in targets[BURST]; /* where two ports are asked */
    unsigned int count;
    size_t longest;
    uint8_t payloads[];
};

/* One socket is read after the other, so that they may share this. */
static struct mmsghdr heard[BURST];
static struct iovec heard_parts[BURST];
static uint8_t answers[BURST][ANSWER_ROOM];

void udp_open(struct channel *channel, const struct options *options, const struct requests *requests) {
    channel->fd = socket(options->target.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (channel->fd < 0)
        fail("no socket: %s", strerror(errno));
    int size = 4 << 20;
    setsockopt(channel->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    /* A source of each request, or a second port of the server, needs a socket of no fixed ends. */
    if (requests->sources || options->accounting) {
        if (options->target.ss_family != AF_INET)
            fail("only IPv4 requests name their source or a port of accounting");
        struct sockaddr_in any = {.sin_family = AF_INET};
        if (bind(channel->fd, (struct sockaddr *)&any, sizeof any))
            fail("no free port: %s", strerror(errno));
    } else if (connect(channel->fd, (const struct sockaddr *)&options->target, options->target_length)) {
        fail("no way to the target: %s", strerror(errno));
    }
    struct datagrams *staging = calloc(1, sizeof *staging + BURST * requests->longest);
    if (!staging)
        fail("no memory");
    staging->longest = requests->longest;
    for (int place = 0; place < BURST; place++) {
        struct msghdr *message = &staging->staged[place].msg_hdr;
        staging->parts[place].iov_base = staging->payloads + (size_t)place * requests->longest;
        message->msg_iov = &staging->parts[place];
        message->msg_iovlen = 1;
        if (requests->sources || options->accounting) {
            message->msg_name = (void *)&options->target;
            message->msg_namelen = options->target_length;
        }
        heard_parts[place] = (struct iovec){answers[place], ANSWER_ROOM};
        heard[place].msg_hdr.msg_iov = &heard_parts[place];
        heard[place].msg_hdr.msg_iovlen = 1;
    }
    channel->datagrams = staging;
}

static void come_from(struct msghdr *message, union control *control, uint32_t source) {
    message->msg_control = source ? control : NULL;
    message->msg_controllen = source ? sizeof *control : 0;
    if (!source)
        return;
    memset(control, 0, sizeof *control);
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    head->cmsg_level = IPPROTO_IP;
    head->cmsg_type = IP_PKTINFO;
    head->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {.ipi_spec_dst = {source}};
    memcpy(CMSG_DATA(head), &info, sizeof info);
}

bool udp_stage(struct channel *channel, const struct options *options, const struct request *request, size_t place,
               uint64_t due) {
    struct datagrams *staging = channel->datagrams;
    if (staging->count == BURST)
        return false;
    unsigned int slot = staging->count++;
    struct iovec *part = &staging->parts[slot];
    memcpy(part->iov_base, request->payload, request->payload_length);
    part->iov_len = request->payload_length;
    struct msghdr *message = &staging->staged[slot].msg_hdr;
    come_from(message, &staging->sources[slot], request->source);
    if (options->accounting) {
        staging->targets[slot] = *(const struct sockaddr_in *)&options->target;
        if (radius_accounts(request->payload))
            staging->targets[slot].sin_port = options->accounting;
        message->msg_name = &staging->targets[slot];
    }
    depart(channel, options, request, place, part->iov_base, due);
    return true;
}

void udp_leave(struct channel *channel) {
    struct datagrams *staging = channel->datagrams;
    unsigned int done = 0;
    int refusals = 0;
    while (done < staging->count) {
        int sent = sendmmsg(channel->fd, staging->staged + done, staging->count - done, 0);
        if (sent > 0) {
            done += (unsigned int)sent;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = channel->fd, .events = POLLOUT}, 1, 1);
        } else if (++refusals % 2 == 0) { /* the first tells what the one before it met: nobody listens, say */
            done++;                       /* no answer will come: it is lost like others */
        }
    }
    staging->count = 0;
}

uint64_t udp_hear(struct channel *channel, const struct options *options, const struct requests *requests,
                  struct scores *scores) {
    int count = recvmmsg(channel->fd, heard, BURST, MSG_DONTWAIT, NULL);
    if (count <= 0)
        return 0;
    uint64_t now = nanoseconds();
    for (int place = 0; place < count; place++)
        arrive(channel, options, requests, scores, answers[place], heard[place].msg_len, now);
    return (uint64_t)count;
}
