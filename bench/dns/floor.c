/* The floor: one thread, one socket; what comes is sent back with the bit that makes it a response
 * (RFC 1035 §4.1.1). What it needs for an answer is what the kernel takes for receiving and sending
 * datagrams in batches, and nearly nothing else.
 *
 *   floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 32, OCTETS = 512 };

int main(int argc, char **argv) {
    static unsigned char octets[BATCH][OCTETS];
    static struct sockaddr_in sources[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr headers[BATCH];
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (argc != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    address.sin_port = htons(atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("bind");
        return 1;
    }
    for (;;) {
        for (int at = 0; at < BATCH; at++) {
            parts[at] = (struct iovec){octets[at], OCTETS};
            headers[at].msg_hdr = (struct msghdr){.msg_name = &sources[at],
                                                  .msg_namelen = sizeof sources[at],
                                                  .msg_iov = &parts[at],
                                                  .msg_iovlen = 1};
        }
        int came = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
        for (int at = 0; at < came; at++) {
            parts[at].iov_len = headers[at].msg_len;
            octets[at][2] |= 0x80;
        }
        for (int sent = 0; sent < came;) {
            int more = sendmmsg(fd, headers + sent, came - sent, 0);
            sent += more > 0 ? more : 1;
        }
    }
}
