"""A client of the rendezvous as the original is one: Python, and websocket-client's WebSocketApp.

    original.py URL plain|twice NAME KEY PORT [CA CRT PEM]

Registers as soon as it is connected. Each line of standard input is an object that it sends, each line of standard
output a message that came, `error: …`, or `closed CODE REASON`. `twice`: what it sends is JSON in a JSON string, as a browser
sends it that stringifies twice. The three files are those of wss://. PORT 0: none is said.
"""

import json
import ssl
import sys
import threading

import websocket

url, encoding, name, key, port = sys.argv[1:6]


def send(connection, message):
    text = json.dumps(message)
    connection.send(json.dumps(text) if encoding == "twice" else text)


def opened(connection):
    registration = {"register": "", "name": name, "key": key}
    if port != "0":
        registration["port"] = int(port)
    send(connection, registration)
    threading.Thread(target=obey, args=(connection,), daemon=True).start()


def obey(connection):
    for line in sys.stdin:
        send(connection, json.loads(line))
    connection.close()


def say(line):
    print(line, flush=True)


app = websocket.WebSocketApp(
    url,
    on_open=opened,
    on_message=lambda connection, message: say(message),
    on_close=lambda connection, code, reason: say(f"closed {code} {reason}"),
    on_error=lambda connection, error: say(f"error: {error}"),
)
files = dict(zip(("ca_certs", "certfile", "keyfile"), sys.argv[6:]))
app.run_forever(sslopt={"cert_reqs": ssl.CERT_REQUIRED, **files} if files else None)
