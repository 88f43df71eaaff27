"""Matriz in the peer bench: one box per peer, the rendezvous beside the first one.

Every option becomes a key of the box's configuration (`codec=l16`, `depth=safe`, `channels=2`); `bin` names the
folder of the two programs. Comes after the harness's `bench.py`, which loads it; before it, `bench/peers`
puts it among the harness's adapters.
"""
import json
import os

from .base import Adapter


def value(text):
    """Numbers and flags as such, everything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class A(Adapter):
    name = "matriz"
    setup_s = 4.0
    max_peers = 8

    def start(self, ctx):
        settings = {key: value(text) for key, text in self.opt.items()}
        programs = settings.pop("bin")
        first = ctx.peers[0]
        clients = [{"name": peer.name, "key": f"key of {peer.name}"} for peer in ctx.peers]
        rendezvous = self.write(ctx, "rendezvous", {"client_keys": clients})
        ctx.spawn(first, "rendezvous", [os.path.join(programs, "matriz-rendezvous"), rendezvous])
        ctx.sleep(0.3)
        for peer in ctx.peers:
            box = {
                "name": peer.name,
                "key": f"key of {peer.name}",
                "url": f"ws://{first.ip}:5000/config",
                "interface": "eth0",
                "jack": {"connect": False},
                **settings,
            }
            ctx.spawn(peer, "matriz", [os.path.join(programs, "matriz"), "--json", self.write(ctx, peer.name, box)])

    @staticmethod
    def write(ctx, name, configuration):
        path = os.path.join(ctx.dir, f"{name}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(configuration, file, indent=1)
        return path

    def send_ports(self, ctx, peer):
        # Who plays into a JACK client and records from it makes a loop, which JACK breaks by one period of
        # delay. No card does that, so the one who listens does not play its silence into the box.
        if peer is ctx.peers[1]:
            return []
        channels = 1 if self.opt.get("channels", "1") == "1" and "separate" not in self.opt else 2
        return [f"{peer.name}:in_{channel + 1}" for channel in range(channels)]

    def recv_ports(self, ctx, peer):
        return [f"{peer.name}:mix_1", f"{peer.name}:mix_2"]
