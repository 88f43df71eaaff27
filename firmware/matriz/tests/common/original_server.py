"""The original's rendezvous, by its protocol: path /config, text frames, and the original's faults where they matter.

    original_server.py NAME=KEY...

Prints the port that it listens at. A first message registers a name with its key; everybody with a key is told who comes
and goes, and gets what it does not understand passed on. Where a frame has backslashes, it takes them out before it reads
the frame, as the original did for what browsers stringify twice.
"""

import asyncio
import json
import sys

import websockets

names = [word.split("=") for word in sys.argv[1:]]
clients = {}


def read(frame):
    return json.loads(frame.replace("\\", "").strip('"'))


def listed():
    """In the order of the keys in the configuration; the receiver is in it."""
    return [clients[name][1] for name, _ in names if name in clients]


async def tell(message, but=None):
    frame = json.dumps({**message, "clients": listed()})
    for name, (socket, _) in list(clients.items()):
        if name != but:
            try:
                await socket.send(frame)
            except websockets.ConnectionClosed:
                pass  # its own task tells the others


async def probe(ip, port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), 5)
        writer.close()
        return True, f"Port {port} at {ip} is open"
    except (OSError, asyncio.TimeoutError) as error:
        return False, str(error)


async def serve(socket, _path):
    try:
        message = read(await socket.recv())
        name = message.get("name")
        if "register" not in message or [name, message.get("key")] not in names:
            return
        ip, port = socket.remote_address[0], message["port"]
        stream, text = await probe(ip, port)
        clients[name] = socket, {"ip": ip, "stream": stream, "name": name, "port": port}
        welcome = {**clients[name][1], "message": text, "clients": listed(), "n_clients": len(clients)}
        await socket.send(json.dumps(welcome))
        await tell({"message": f"[{name}] connected to config server", "name": name}, but=name)
        try:
            async for frame in socket:
                message = read(frame)
                if "deregister" in message:
                    break
                if message:
                    await tell({**message, "name": name}, but=name)
        finally:
            if clients.get(name, (None,))[0] is socket:
                del clients[name]
                await tell({"message": f"[{name}] disconnected from config server", "name": name})
    except websockets.ConnectionClosed:
        pass


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
