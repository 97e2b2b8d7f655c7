/* Asks for /PREFIX/FIRST to /PREFIX/LAST, each once, over 64 kept connections, and says how many
 * answers had the status 200 and the given length. wrk cannot stop after a number of requests.
 *
 *   fill PORT HOST PREFIX FIRST LAST LENGTH
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 64, BUFFER = 65536 };

struct connection {
    int fd;
    size_t held;       /* of the head, before it is complete */
    long body_left;    /* -1 while in the head */
    int good;
    char head[BUFFER];
};

static long next, last, length, answers, good;
static const char *host, *prefix;
static int open_connections;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int ask(struct connection *connection) {
    if (next > last) {
        close(connection->fd);
        open_connections--;
        return 0;
    }
    char request[512];
    int size = snprintf(request, sizeof request,
        "GET /%s/%ld HTTP/1.1\r\nHost: %s\r\n\r\n", prefix, next++, host);
    connection->held = 0;
    connection->body_left = -1;
    if (send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size) fail("send");
    return 1;
}

/* Takes `size` bytes behind `held`; 1 if the answer is complete. */
static int take(struct connection *connection, size_t size) {
    if (connection->body_left < 0) {
        connection->held += size;
        connection->head[connection->held] = 0;
        char *end = memmem(connection->head, connection->held, "\r\n\r\n", 4);
        if (!end) return 0;
        char *field = strcasestr(connection->head, "\r\ncontent-length:");
        if (!field || field > end) {
            fprintf(stderr, "an answer without Content-Length:\n%s\n", connection->head);
            exit(1);
        }
        long total = atol(field + strlen("\r\ncontent-length:"));
        connection->good = !strncmp(connection->head, "HTTP/1.1 200", 12) && total == length;
        size_t in_hand = connection->held - (size_t)(end + 4 - connection->head);
        connection->body_left = total - (long)in_hand;
        connection->held = 0;
    } else {
        connection->body_left -= (long)size;
    }
    if (connection->body_left > 0) return 0;
    answers++;
    good += connection->good;
    return 1;
}

int main(int count, char **words) {
    if (count != 7) {
        fprintf(stderr, "usage: fill PORT HOST PREFIX FIRST LAST LENGTH\n");
        return 2;
    }
    host = words[2];
    prefix = words[3];
    next = atol(words[4]);
    last = atol(words[5]);
    length = atol(words[6]);
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(words[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int poller = epoll_create1(0), on = 1;
    static struct connection connections[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        connection->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(connection->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, connection->fd, &event)) fail("epoll_ctl");
        open_connections++;
        ask(connection);
    }
    while (open_connections) {
        struct epoll_event events[CONNECTIONS];
        int ready = epoll_wait(poller, events, CONNECTIONS, 20000);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) {
            fprintf(stderr, "nothing came for 20 s\n");
            return 1;
        }
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            char *at = connection->head + connection->held;
            ssize_t got = recv(connection->fd, at, BUFFER - 1 - connection->held, 0);
            if (got <= 0) {
                fprintf(stderr, "a connection was closed after %ld answers\n", answers);
                return 1;
            }
            if (take(connection, (size_t)got)) ask(connection);
        }
    }
    printf("%ld %ld\n", answers, good);
    return 0;
}
