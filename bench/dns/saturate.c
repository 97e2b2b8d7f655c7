/* Asks a name server for more than it can answer: so many questions are always on their way from
 * each of a few sockets, sent and received in batches, so that the client is not the slower part.
 *
 *   saturate PORT QUESTIONS SECONDS OUTSTANDING [RECORD]
 *
 * QUESTIONS holds lines of "NAME TYPE", as dnsperf reads them; all are asked for A (RFC 1035 §4.1).
 * RECORD is an additional record for each, in hexadecimal. Prints how many were answered with
 * NOERROR, with something else, and not within 100 ms.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 16, BATCH = 32, OCTETS = 1232, NAMES_MAX = 100000, PATIENCE_MS = 100 };

struct question {
    unsigned short length;
    unsigned char octets[254];
};

static struct question questions[NAMES_MAX];
static unsigned count, next;
static unsigned char octets[BATCH][OCTETS];
static struct iovec parts[BATCH];
static struct mmsghdr headers[BATCH];

static int read_record(const char *text, unsigned char *record, int most) {
    int length = 0;
    for (unsigned octet; length < most && sscanf(text, "%2x", &octet) == 1; text += 2)
        record[length++] = octet;
    return length;
}

static void read_questions(const char *path, const char *text) {
    char name[64];
    unsigned char record[40];
    int extra = read_record(text, record, sizeof record);
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    while (count < NAMES_MAX && fscanf(file, "%63s %*s", name) == 1) {
        struct question *question = &questions[count++];
        unsigned char *at = question->octets;
        memcpy(at, "\0\0\0\0\0\1\0\0\0\0\0\0", 12);
        at += 12;
        for (char *label = strtok(name, "."); label; label = strtok(NULL, ".")) {
            *at++ = strlen(label);
            memcpy(at, label, strlen(label));
            at += strlen(label);
        }
        memcpy(at, "\0\0\1\0\1", 5);
        memcpy(at + 5, record, extra);
        question->octets[11] = extra > 0;
        question->length = at + 5 + extra - question->octets;
    }
    fclose(file);
}

/* Sends as many questions as it may; how many it did. */
static int ask(int fd, int many) {
    int sent = 0;
    while (sent < many) {
        int batch = many - sent < BATCH ? many - sent : BATCH;
        for (int at = 0; at < batch; at++) {
            struct question *question = &questions[next++ % count];
            question->octets[0] = next >> 8, question->octets[1] = next;
            parts[at] = (struct iovec){question->octets, question->length};
            headers[at].msg_hdr = (struct msghdr){.msg_iov = &parts[at], .msg_iovlen = 1};
        }
        int went = sendmmsg(fd, headers, batch, 0);
        if (went <= 0) break;
        sent += went;
    }
    return sent;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    struct pollfd sockets[SOCKETS];
    int waiting[SOCKETS] = {0};
    double asked[SOCKETS];
    long good = 0, bad = 0, lost = 0;
    if (argc < 5) {
        fprintf(stderr, "usage: saturate PORT QUESTIONS SECONDS OUTSTANDING [RECORD]\n");
        return 2;
    }
    read_questions(argv[2], argc > 5 ? argv[5] : "");
    int each = atoi(argv[4]) / SOCKETS, buffer = 4 << 20;
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int at = 0; at < SOCKETS; at++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        if (connect(fd, (struct sockaddr *)&server, sizeof server)) {
            perror("connect");
            return 1;
        }
        sockets[at] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    double begin = seconds(), end = begin + atof(argv[3]), now = begin;
    for (int at = 0; at < SOCKETS; at++) {
        waiting[at] = ask(sockets[at].fd, each);
        asked[at] = now;
    }
    while ((now = seconds()) < end) {
        poll(sockets, SOCKETS, PATIENCE_MS);
        for (int at = 0; at < SOCKETS; at++) {
            if (!(sockets[at].revents & POLLIN)) {
                if (now - asked[at] > PATIENCE_MS / 1e3) {
                    lost += waiting[at];
                    waiting[at] = ask(sockets[at].fd, each);
                    asked[at] = now;
                }
                continue;
            }
            for (int one = 0; one < BATCH; one++) {
                parts[one] = (struct iovec){octets[one], OCTETS};
                headers[one].msg_hdr = (struct msghdr){.msg_iov = &parts[one], .msg_iovlen = 1};
            }
            int came = recvmmsg(sockets[at].fd, headers, BATCH, 0, NULL);
            for (int one = 0; one < came; one++) {
                int is_good = headers[one].msg_len > 12 && (octets[one][3] & 15) == 0;
                good += is_good, bad += !is_good;
            }
            if (came > 0) {
                waiting[at] = waiting[at] > came ? waiting[at] - came : 0;
                waiting[at] += ask(sockets[at].fd, each - waiting[at]);
                asked[at] = now;
            }
        }
    }
    printf("answered %ld\nrefused %ld\nlost %ld\nseconds %.6f\n", good, bad, lost, now - begin);
    return 0;
}
