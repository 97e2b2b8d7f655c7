"""The origin behind the edge of slow_clients.sh: a small page, one that may not be stored, a large one.

    python3 slow_origin.py PORT-FILE

Whoever sends content gets no response before all of it is there. Runs until it is killed.
"""

import asyncio
import resource
import sys

LARGE = b"x" * (1024 * 1024)


async def converse(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").lower().split("\r\n")
            for line in lines:
                if line.startswith("content-length: "):
                    await reader.readexactly(int(line.removeprefix("content-length: ")))
            path = lines[0].split(" ")[1]
            body = LARGE if path == "/large" else b"hello"
            control = "no-store" if path == "/fetched" else "max-age=3600"
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nCache-Control: {control}\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=4096)
    with open(sys.argv[1], "w") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


asyncio.run(main())
