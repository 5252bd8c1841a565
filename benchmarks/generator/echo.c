/* Sends each datagram back as it came: the limit of UDP with recvmmsg and sendmmsg.

   echo CPU: pinned to it, on a free port of 127.0.0.1 that it prints; ends with its standard input. */
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BURST = 64, LONGEST = 2048 };

int main(int count, char **words) {
    static uint8_t bytes[BURST][LONGEST];
    static struct sockaddr_in peers[BURST];
    static struct iovec parts[BURST];
    static struct mmsghdr messages[BURST];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    cpu_set_t cpu;
    CPU_ZERO(&cpu);
    if (count > 1) {
        CPU_SET(atoi(words[1]), &cpu);
        sched_setaffinity(0, sizeof cpu, &cpu);
    }
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        return 1;
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int place = 0; place < BURST; place++) {
        messages[place].msg_hdr.msg_name = &peers[place];
        messages[place].msg_hdr.msg_iov = &parts[place];
        messages[place].msg_hdr.msg_iovlen = 1;
    }
    struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    while (poll(both, 2, -1) > 0 && !both[1].revents) {
        for (int place = 0; place < BURST; place++) {
            parts[place] = (struct iovec){bytes[place], LONGEST};
            messages[place].msg_hdr.msg_namelen = sizeof peers[place];
        }
        int got = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
        for (int place = 0; place < got; place++)
            parts[place].iov_len = messages[place].msg_len;
        if (got > 0)
            sendmmsg(fd, messages, (unsigned int)got, 0);
    }
    return 0;
}
