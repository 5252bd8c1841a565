/* Asks a server on loopback as fast as it answers, or at a fixed rate; checks and times each answer.

   It spins: on a core of its own it is never late by the time that a wake-up takes, and no server pays for
   waking it. Closed loop: so many requests are under way at once. Open loop: each has its time, and its latency
   counts from there, so that a server that stops for a while is charged for all who would have asked meanwhile.

   Prints one line of JSON. Exit status: 0; 1 where it cannot run; 2 where an answer was wrong. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "options.h"
#include "requests.h"
#include "scores.h"

/* Most requests that are sent before answers are looked for. */
enum { MOST_AT_ONCE = 64 };
static const uint64_t SECOND = 1000000000, BETWEEN_LOOKS = 1000000;

struct way {
    void (*open)(struct channel *, const struct options *, const struct requests *);
    bool (*stage)(struct channel *, const struct options *, const struct request *, size_t, uint64_t);
    void (*leave)(struct channel *);
    uint64_t (*hear)(struct channel *, const struct options *, const struct requests *, struct scores *);
};

static const struct way UDP = {udp_open, udp_stage, udp_leave, udp_hear};
static const struct way TCP = {tcp_open, tcp_stage, tcp_leave, tcp_hear};

struct run {
    const struct options *options;
    const struct requests *requests;
    const struct way *way;
    struct channel *channels;
    uint64_t flying;
    struct scores scores;
};

static void pin(int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one))
        fail("--cpu %d: %s", cpu, strerror(errno));
}

/* When a request is due. */
static uint64_t due(const struct run *run, uint64_t number, uint64_t now) {
    if (run->options->rate == 0)
        return now;
    return run->scores.began + (uint64_t)((double)number / run->options->rate * (double)SECOND);
}

/* Send what may go now; returns how many. */
static uint64_t send_some(struct run *run, uint64_t now) {
    const struct options *options = run->options;
    struct scores *scores = &run->scores;
    uint64_t count = 0;
    while (count < MOST_AT_ONCE && scores->sent < options->count) {
        uint64_t time = due(run, scores->sent, now);
        if (options->rate != 0 ? time > now : run->flying >= options->outstanding)
            break;
        size_t place = scores->sent % run->requests->count;
        const struct request *request = &run->requests->all[place];
        struct channel *channel = &run->channels[request->lane / options->neighbours % options->channels];
        if (!has_room(channel) || !run->way->stage(channel, options, request, place, time))
            break; /* its turn comes again; in the open loop its time runs meanwhile */
        if (options->rate != 0)
            put(&scores->lateness, now - time);
        scores->sent++;
        run->flying++;
        count++;
    }
    return count;
}

static void leave_all(struct run *run) {
    for (int place = 0; place < run->options->channels; place++)
        run->way->leave(&run->channels[place]);
}

static uint64_t hear_all(struct run *run) {
    uint64_t count = 0, flying = 0;
    for (int place = 0; place < run->options->channels; place++) {
        struct channel *channel = &run->channels[place];
        if (channel->flying)
            count += run->way->hear(channel, run->options, run->requests, &run->scores);
        flying += channel->flying;
    }
    run->flying = flying;
    return count;
}

static void give_up_all(struct run *run, uint64_t now) {
    uint64_t timeout = (uint64_t)(run->options->timeout * (double)SECOND);
    for (int place = 0; place < run->options->channels; place++) {
        uint64_t lost = give_up(&run->channels[place], run->options, now > timeout ? now - timeout : 0);
        run->scores.lost += lost;
        run->flying -= lost;
    }
}

static void go(struct run *run) {
    struct scores *scores = &run->scores;
    uint64_t now = nanoseconds(), looked = now;
    uint64_t until = now + (uint64_t)(run->options->seconds * (double)SECOND);
    scores->began = scores->ended = now;
    bool sending = true;
    while (sending || run->flying) {
        uint64_t done = sending ? send_some(run, now) : 0;
        leave_all(run); /* a connection may not have taken all at once */
        done += hear_all(run);
        uint64_t then = nanoseconds();
        if (!done)
            scores->idle += then - now;
        now = then;
        if (now - looked > BETWEEN_LOOKS) {
            give_up_all(run, now);
            looked = now;
        }
        sending = scores->sent < run->options->count && now < until;
    }
}

int main(int count, char **words) {
    struct options options = read_options(count, words);
    struct requests requests = read_requests(&options);
    static struct run run; /* its histograms are too large for a stack */
    if (options.radius)
        radius_secret(options.radius);
    run.options = &options;
    run.requests = &requests;
    run.way = options.framing == DATAGRAMS ? &UDP : &TCP;
    run.channels = calloc((size_t)options.channels, sizeof *run.channels);
    if (!run.channels)
        fail("no memory");
    for (int place = 0; place < options.channels; place++) {
        run.channels[place] = new_channel(&options);
        run.way->open(&run.channels[place], &options, &requests);
    }
    if (options.cpu >= 0)
        pin(options.cpu);
    go(&run);
    print_scores(&run.scores, &requests);
    return run.scores.wrong ? 2 : 0;
}
