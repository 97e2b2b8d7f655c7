/* The floor: one thread, one epoll loop, responses made in advance. What it needs for a request is
 * what the kernel takes for reading and writing one, and nearly nothing else.
 *
 * It is also the origin of the comparison. By path:
 *   /64k... and /1m...  64 KiB and 1 MiB     /nostore...  1 KiB that may not be stored
 *   /count              how many other requests came so far
 *   anything else       1 KiB
 * It reads request heads as far as the empty line, and knows GET alone.
 *
 *   floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 8192, EVENTS = 256, DATE_LENGTH = 29 };

struct answer {
    char *bytes;
    size_t length;
    char *date;
};

struct connection {
    int fd;
    size_t held;          /* bytes of a request that is not complete */
    const char *rest;     /* what could not be sent yet */
    size_t rest_length;
    char input[INPUT];
};

static struct answer small, medium, large, unstored, counted;
static unsigned long requests;
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct answer prepare(size_t size, const char *caching) {
    char head[512];
    int length = snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\n"
        "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        "Content-Type: application/octet-stream\r\n"
        "Content-Length: %zu\r\n"
        "Last-Modified: Sun, 01 Nov 2026 08:00:00 GMT\r\n"
        "ETag: \"%zx-bench\"\r\n"
        "Cache-Control: %s\r\n\r\n",
        size, size, caching);
    struct answer answer = {malloc((size_t)length + size), (size_t)length + size, NULL};
    if (!answer.bytes) fail("malloc");
    memcpy(answer.bytes, head, (size_t)length);
    memset(answer.bytes + length, 'x', size);
    answer.date = answer.bytes + strlen("HTTP/1.1 200 OK\r\nDate: ");
    return answer;
}

static void note_date(void) {
    static time_t last;
    time_t now = time(NULL);
    if (now == last) return;
    last = now;
    char text[64];
    struct tm parts;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    struct answer *all[] = {&small, &medium, &large, &unstored};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memcpy(all[i]->date, text, DATE_LENGTH);
}

static const struct answer *choose(const char *request) {
    const char *path = request + 4; /* behind "GET " */
    if (!strncmp(path, "/count ", 7)) {
        static char text[256];
        char body[32];
        int size = snprintf(body, sizeof body, "%lu\n", requests);
        int length = snprintf(text, sizeof text,
            "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n%s", size, body);
        counted = (struct answer){text, (size_t)length, NULL};
        return &counted;
    }
    requests++;
    if (!strncmp(path, "/64k", 4)) return &medium;
    if (!strncmp(path, "/1m", 3)) return &large;
    if (!strncmp(path, "/nostore", 8)) return &unstored;
    return &small;
}

static void forget(struct connection *connection) {
    close(connection->fd);
    free(connection);
}

static void watch(struct connection *connection, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event)) fail("epoll_ctl");
}

/* 1 if all is sent, 0 if the socket is full, -1 if the connection is gone. */
static int push(struct connection *connection, const char *bytes, size_t length) {
    while (length) {
        ssize_t sent = send(connection->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            connection->rest = bytes;
            connection->rest_length = length;
            return 0;
        }
        if (sent < 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    connection->rest_length = 0;
    return 1;
}

/* Answers the requests that are complete; -1 if the connection is gone. */
static int answer(struct connection *connection) {
    char *at = connection->input;
    size_t held = connection->held;
    int sent = 1;
    char *end;
    while (sent == 1 && (end = memmem(at, held, "\r\n\r\n", 4))) {
        const struct answer *answer = choose(at);
        held -= (size_t)(end + 4 - at);
        at = end + 4;
        sent = push(connection, answer->bytes, answer->length);
    }
    if (held && at != connection->input) memmove(connection->input, at, held);
    connection->held = held;
    if (sent == 0) watch(connection, EPOLLOUT);
    return sent;
}

static void readable(struct connection *connection) {
    size_t room = INPUT - connection->held;
    ssize_t got = recv(connection->fd, connection->input + connection->held, room, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        connection->held += (size_t)got;
        if (answer(connection) >= 0 && connection->held < INPUT) return;
    }
    forget(connection);
}

static void writable(struct connection *connection) {
    int sent = push(connection, connection->rest, connection->rest_length);
    if (sent == 0) return;
    if (sent == 1) {
        watch(connection, EPOLLIN);
        sent = answer(connection);
    }
    if (sent < 0) forget(connection);
}

static void welcome(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = malloc(sizeof *connection);
        if (!connection) {
            close(fd);
            continue;
        }
        connection->fd = fd;
        connection->held = connection->rest_length = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    }
}

int main(int count, char **words) {
    if (count != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    small = prepare(1024, "max-age=3600");
    medium = prepare(64 * 1024, "max-age=3600");
    large = prepare(1024 * 1024, "max-age=3600");
    unstored = prepare(1024, "no-store");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(words[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (listen(listener, 4096)) fail("listen");
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) fail("epoll_ctl");
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, -1);
        note_date();
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) welcome(listener);
            else if (connection->rest_length) writable(connection);
            else readable(connection);
        }
    }
}
