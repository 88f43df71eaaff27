"""Any program of the harness, with nothing played into it at the listener: `oneway:of=jacktrip,q=auto`.

The harness's listener records what a program plays and plays silence into it. Where one JACK client has both ends,
as with JackTrip, Jamulus and Matriz, that is a loop, which JACK breaks by one period of delay; no sound card makes
one. `bench/peers` plays everybody through this adapter, so that all are measured alike; the harness's own adapter
does the rest. Measured, JackTrip 1.7 with `q=2` at 128 frames: 6.26 ms with the loop, 3.53 ms without.
"""
import importlib


def A(of, **options):
    program = importlib.import_module("." + of, __package__).A(**options)
    ports = program.send_ports
    program.send_ports = lambda ctx, peer: [] if peer is ctx.peers[1] else ports(ctx, peer)
    return program
