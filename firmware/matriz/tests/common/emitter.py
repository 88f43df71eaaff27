"""The original's emitter: GStreamer's RTSP server with the original's pipeline.

    emitter.py PORT SOURCE [tcp] [timeout=SECONDS]

SOURCE is what the pipeline begins with, such as `jackaudiosrc client-name=lisboa`. Prints `ready` when it listens. `tcp`: only
interleaved transport is offered. `timeout`: sessions end so soon without a sign of life, and 5 s that GStreamer adds.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstRtsp", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

port, source = sys.argv[1:3]
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( {source} ! audioconvert ! audioresample ! opusenc ! rtpopuspay name=pay0 )")
factory.set_shared(True)
for word in sys.argv[3:]:
    if word == "tcp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
    else:
        seconds = int(word.removeprefix("timeout="))
        limit = lambda _client, session: session.set_timeout(seconds)
        server.connect("client-connected", lambda _server, client: client.connect("new-session", limit))
        # The pool ends what is over only when told to look.
        GLib.timeout_add(500, lambda: server.get_session_pool().cleanup() >= 0)
server.get_mount_points().add_factory("/stream", factory)
if server.attach(None) == 0:
    sys.exit(f"port {port} is taken")
print("ready", flush=True)
GLib.MainLoop().run()
