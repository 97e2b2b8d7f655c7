"""Opens TLS connections, asks once over each, and keeps them; told by the arguments

    hold.py PORT HOST COUNT h2|http/1.1

It says `ready`, the number of connections and a name of the cipher, waits for a line of input,
says how many are still open, and ends.
"""

import select
import socket
import ssl
import struct
import sys
import threading

THREADS = 4
PATH = b"/1k"


def main():
    port, host, count, protocol = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    held, lost = [], []

    def open_some(number):
        for _ in range(count // THREADS):
            try:
                held.append(connect(context, port, host, protocol))
            except (OSError, ValueError) as error:
                lost.append(error)
                return

    threads = [threading.Thread(target=open_some, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if lost:
        print("failed", len(held), lost[0], flush=True)
        return
    print("ready", len(held), held[0].version(), held[0].cipher()[0], flush=True)
    sys.stdin.readline()
    poll = select.poll()
    for connection in held:
        poll.register(connection.fileno(), select.POLLRDHUP)
    print(len(held) - len(poll.poll(0)), flush=True)


def connect(context, port, host, protocol):
    plain = socket.create_connection(("127.0.0.1", port), 30)
    connection = context.wrap_socket(plain, server_hostname=host)
    if connection.selected_alpn_protocol() != protocol:
        raise ValueError(f"the server does not speak {protocol}")
    (ask_http2 if protocol == "h2" else ask_http1)(connection, host.encode())
    return connection


def ask_http1(connection, host):
    connection.sendall(b"GET " + PATH + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += receive(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += receive(connection)


def ask_http2(connection, host):
    """One GET with the settings as they are; the fields stand there as literals (RFC 7541)."""
    fields = b"\x82\x87"
    fields += b"\x04" + bytes([len(PATH)]) + PATH
    fields += b"\x01" + bytes([len(host)]) + host
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, fields)
    )
    buffered = b""
    while True:
        while len(buffered) < 9 or len(buffered) < 9 + int.from_bytes(buffered[:3], "big"):
            buffered += receive(connection)
        length, kind, flags = int.from_bytes(buffered[:3], "big"), buffered[3], buffered[4]
        buffered = buffered[9 + length :]
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0, b""))
        if kind in (3, 7):
            raise ValueError("the server refuses the request")
        if kind in (0, 1) and flags & 1:
            return


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def receive(connection):
    piece = connection.recv(65536)
    if not piece:
        raise ValueError("the server closed a connection")
    return piece


main()
