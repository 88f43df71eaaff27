"""A client as the original is one: websocket-client for the rendezvous, an emitter, and a receiver for each listed name.

    original_client.py URL NAME KEY PORT SOURCE FOLDER

The emitter's pipeline begins with SOURCE, the receivers' end in FOLDER/NAME-hears-OTHER.wav; both are the original's but for
that. Whoever is in the list and not heard yet gets a receiver, who is no longer in the list loses it. Prints `registered`.
"""

import ctypes
import json
import signal
import subprocess
import sys
import threading

import gi
import websocket

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

url, name, key, port, source, folder = sys.argv[1:7]
receivers = {}


def emit():
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {source} ! audioconvert ! audioresample ! opusenc ! rtpopuspay name=pay0 )")
    factory.set_shared(True)
    server.get_mount_points().add_factory("/stream", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")


def receive(other):
    return subprocess.Popen(
        ["gst-launch-1.0", "-q", "-e", "rtspsrc", f"location=rtsp://{other['ip']}:{other['port']}/stream", "latency=0"]
        + "port-range=8556-8600 ! rtpopusdepay ! opusdec ! audioconvert ! audioresample !".split()
        + "audio/x-raw,format=S16LE,rate=48000,channels=2 ! wavenc ! filesink".split()
        + [f"location={folder}/{name}-hears-{other['name']}.wav"],
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG: it ends with us
    )


def heard(_connection, frame):
    message = json.loads(frame)
    if "clients" not in message:
        return
    others = {other["name"]: other for other in message["clients"] if other["name"] != name}
    for gone in set(receivers) - set(others):
        receivers.pop(gone).terminate()
    for new in set(others) - set(receivers):
        receivers[new] = receive(others[new])
    print("registered", flush=True)


def opened(connection):
    connection.send(json.dumps({"register": "", "name": name, "key": key, "port": int(port)}))


def end(*_):
    for receiver in receivers.values():
        receiver.send_signal(signal.SIGINT)  # with -e it completes its file
    for receiver in receivers.values():
        receiver.wait()
    loop.quit()


Gst.init(None)
loop = GLib.MainLoop()
emit()
app = websocket.WebSocketApp(url, on_open=opened, on_message=heard)
threading.Thread(target=app.run_forever, daemon=True).start()
GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, end)
loop.run()
