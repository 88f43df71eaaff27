"""What the tests in the emulator have in common: a report, this computer's part in the music, and the things that are
looked at more than once. The sequences are in `boot-test`, `soak-test`, `update-test` and `update-soak`; the board is in
`machine.py`.
"""

import argparse
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from machine import Card, Machine, Trouble, free_port, run

TONE = 440  # hertz
RATE = 48000

# A file beside the settings, which is no certificate.
BAND = "band.crt"

# The emulated card takes long periods only, and its display is an old one that is spoken to like an SH1106.
SETTINGS = """# Settings of the emulated box.
name = "emulated"
key = "key1"
url = "ws://10.0.2.2:{port}/config"
power_off = true
packet_ms = 5

[jack]
period = 1024
periods = 3

[panel]
chip = "sh1106"
"""

# Wrong settings, with the line ends of Windows, and what is told of them: a key that there is not, which the text
# alone shows; a certificate that is none, in settings that are right in themselves.
MISSPELT = (SETTINGS.replace('key = "key1"', 'kez = "key1"').replace("\n", "\r\n"),
            'matriz.toml, line 3: there is no key "kez"')
NO_CERTIFICATE = (SETTINGS.replace("ws://", "wss://").replace("power_off", f'ca_crt = "{BAND}"\npower_off').replace("\n", "\r\n"),
                  f"matriz.toml, line 5: {BAND} holds no certificate")

SHIPPED = Path(__file__).parent.parent / "setup" / "matriz.toml"

# One step may take so long: emulated time runs slowly, and slower on two busy processors.
PATIENCE = 600


class Report:
    """What was looked at, and how it was."""

    def __init__(self):
        self.passed = self.failed = 0
        self.began = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    def check(self, what, good, seen=""):
        """Counts; `seen` is shown when it is not good."""
        if good:
            self.passed += 1
            self.say(f"passed: {what}")
        else:
            self.failed += 1
            self.say(f"FAILED: {what}" + (f"; seen: {seen}" if seen != "" else ""))
        return bool(good)

    def attempt(self, what, step):
        """A step that fails by an exception, which ends the test; returns what it returned."""
        try:
            answer = step()
        except Trouble as trouble:
            self.check(what, False, trouble)
            raise Ended from None
        self.check(what, True)
        return answer


class Ended(Exception):
    """The test cannot go on; why, is said."""


class Host:
    """This computer's part: a rendezvous, and a box that plays a tone."""

    def __init__(self, programs, work):
        self.programs, self.work = Path(programs).resolve(), Path(work)
        self.processes = []
        self.port = free_port()

    def start(self):
        clients = {"client_keys": [{"name": "emulated", "key": "key1"}, {"name": "host", "key": "key2"}]}
        (self.work / "clients.json").write_text(json.dumps(clients))
        self._run("rendezvous", "matriz-rendezvous", "clients.json", "--listen", f"127.0.0.1:{self.port}")
        (self.work / "host.toml").write_text(
            f'name = "host"\nkey = "key2"\nurl = "ws://127.0.0.1:{self.port}/config"\n'
            f'media_port = 0\nport = {free_port()}\nsound = "simulated"\npacket_ms = 5\nstate_folder = "state"\n'
            f'[simulated]\ninput = "tone:{TONE}"\n[api]\nsocket = "host.sock"\n'
        )
        self._run("host", "matriz", "--json", "host.toml")

    def _run(self, name, program, *words):
        with open(self.work / f"{name}.out", "w") as out, open(self.work / f"{name}.log", "w") as log:
            self.processes.append(
                subprocess.Popen([self.programs / program, *words], cwd=self.work, stdout=out, stderr=log,
                                 stdin=subprocess.DEVNULL))

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def said(self, name):
        return (self.work / f"{name}.log").read_text(errors="replace")

    def peer(self):
        """What the box here knows of the emulated one, or None."""
        for line in reversed((self.work / "host.out").read_text(errors="replace").splitlines()):
            try:
                peers = json.loads(line)["peers"]
            except ValueError:
                continue  # it is being written
            return next((peer for peer in peers if peer["name"] == "emulated"), None)
        return None


def tone_in(file, begin=0):
    """Seconds of the WAV, from that byte on, in which the tone is: pieces of 10 ms of which it has nine tenths of the power.

    Emulated sound has a gap every few of those. The file may still be written to, so its header says nothing: 16 bits,
    2 channels, 48 kHz.
    """
    frames = RATE // 100
    turn = 2 * math.pi * TONE / RATE
    wave = [(math.cos(turn * n), math.sin(turn * n)) for n in range(frames)]
    with open(file, "rb") as wav:
        wav.seek(44 + begin // 4 * 4)
        data = wav.read()
    found = 0
    for at in range(0, len(data) - frames * 4, frames * 4):
        left = struct.unpack_from(f"<{2 * frames}h", data, at)[::2]
        power = sum(sample * sample for sample in left) / frames
        if power < 100 * 100:
            continue
        real = sum(sample * c for sample, (c, _) in zip(left, wave))
        imaginary = sum(sample * s for sample, (_, s) in zip(left, wave))
        found += 2 * (real * real + imaginary * imaginary) / frames**2 / power > 0.9
    return found / 100


class Trial:
    """A flashed card in a box, a person's settings and key on it, and somebody here who plays with it."""

    def __init__(self, description, more=(), switches=()):
        """`more` are further arguments, after the image and the programs."""
        options = argparse.ArgumentParser(description=description)
        options.add_argument("image", help="what image/assemble made")
        options.add_argument("programs", help="folder of this computer's matriz and matriz-rendezvous")
        for name in more:
            options.add_argument(name)
        for name in switches:
            options.add_argument(name, action="store_true")
        options.add_argument("--work", default=f"out/emulator/{Path(sys.argv[0]).name}",
                             help="folder for consoles, sound and pictures")
        options.add_argument("--seed", type=int, default=random.randrange(10**6), help="of random moments")
        self.options = options.parse_args()
        self.work = Path(self.options.work)
        run("rm", "-rf", self.work)
        self.work.mkdir(parents=True)
        self.report = Report()
        self.chance = random.Random(self.options.seed)
        self.card = Card.flash(self.options.image, self.work / "card.img")
        self.machine = Machine(self.card, self.work)
        self.host = Host(self.options.programs, self.work)
        self.report.say(f"seed {self.options.seed}; consoles and sound are in {self.work}")
        self.card.write(1, "authorized_keys", self.machine.key.with_suffix(".pub").read_text())
        self.settings(SETTINGS)

    def go(self, steps):
        """Goes through the steps, in their order; returns the exit code."""
        try:
            self.host.start()
            steps()
        except (Trouble, Ended) as trouble:
            if isinstance(trouble, Trouble):
                self.report.check("the test goes on to its end", False, trouble)
            log = self.work / "journal.log"
            try:
                log.write_text(self.machine.ssh("journalctl -b --no-pager -o short-monotonic", seconds=120))
            except Trouble:
                log = "nothing, as SSH does not answer"
            print(f"{self.machine.said()[-3000:]}\nThe box's journal: {log}")
        finally:
            self.machine.power_off()
            self.host.stop()
        print(f"{self.report.passed} passed, {self.report.failed} failed")
        return 1 if self.report.failed else 0

    def settings(self, text):
        self.card.write(1, "matriz.toml", text.format(port=self.host.port))
        self.card.write(1, BAND, "no certificate")

    def starts(self, what):
        """Powers on, and waits until somebody can go in."""
        self.machine.power_on()
        self.report.attempt(what, lambda: self.machine.wait_ssh(PATIENCE))
        self.report.say(f"SSH came {time.monotonic() - self.machine.since:.0f} s after power-on")

    def is_as_designed(self):
        """Partitions, mounts, units, name, and the door is shut for strangers."""
        check = self.report.check
        designed = {1: (12, 64), 2: (12, 64), 3: (12, 64), 5: (131, 256), 6: (131, 256), 7: (131, 6000)}
        seen = {number: (kind, size >> 20) for number, (kind, _, size) in self.card.partitions.items()}
        aligned = all(start % (4 << 20) == 0 for _, start, _ in self.card.partitions.values())
        check("the partition table is as designed", seen == designed and aligned, self.card.partitions)
        mounts = self.machine.ssh("cat /proc/mounts", seconds=PATIENCE)
        check("the root is squashfs, read-only", re.search(r"^/dev/\S+ / squashfs ro", mounts, re.M), mounts)
        check("nothing can be written to the root", self.machine.ssh("touch /usr/x", check=False)[0] != 0)
        check("the set-up partition is read-only", re.search(r"p1 /setup vfat ro", mounts), mounts)
        check("the data partition is writable", re.search(r"p7 /data ext4 rw", mounts), mounts)
        failed = self.machine.ssh("systemctl --failed --no-legend --plain").strip()
        check("no unit has failed", not failed, failed)
        name = self.machine.ssh("cat /proc/sys/kernel/hostname").strip()
        check("the host name is its own", name == "matriz-9f01", name)
        stranger = self.work / "stranger"
        if not stranger.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger)
        code, _, said = self.machine.ssh("true", key=stranger, check=False)
        check("another key is refused", code == 255 and "Permission denied" in said, said)

    def registers(self):
        self.report.attempt(
            "it registers with the rendezvous on this computer",
            lambda: self.machine.wait(lambda: self.status()["rendezvous"] == "connected", PATIENCE, "the rendezvous"))

    def plays(self, what="the tone that the box here sends comes out of the emulated sound card"):
        """Until there is a second of the tone that was not there before."""
        wav = self.machine.wav
        before = os.path.getsize(wav) - 44 if wav.exists() else 0
        self.report.attempt(what, lambda: self.machine.wait(
            lambda: wav.exists() and tone_in(wav, max(before, 0)) >= 1, PATIENCE, "a second of the tone"))

    def hears(self):
        self.report.attempt("both boxes hear each other", lambda: self.machine.wait(
            lambda: (self.host.peer() or {}).get("connected"), PATIENCE, "the box here to be connected"))

    def status(self):
        """The box's own status, by its command line over SSH."""
        code, said, why = self.machine.ssh("matriz status --json", check=False)
        if code:
            return {"rendezvous": why, "machine": {}, "peers": []}
        return json.loads(said)

    def replug(self):
        """The sound card goes and comes during music."""
        self.machine.unplug()
        gone = self.report.attempt("pulled out, the box says that there is no card", lambda: self.machine.wait(
            lambda: "no card" in (computer := self.status()["machine"]).get("card", "") and computer, PATIENCE, "no card"))
        self.report.say(f"it says: {gone.get('card')}")
        self.machine.plug()
        self.plays("plugged in again, the tone comes out again")

    def keep(self):
        """Leaves what must survive, and returns it."""
        self.machine.ssh("matriz volume host -6 && echo kept >/data/matriz/keepsake && sync")
        self.machine.wait(lambda: "-6" in self.kept(), 60, "the fader to be kept")
        return self.kept()

    def kept(self):
        return self.machine.ssh("sha256sum /run/matriz-system/ssh/ssh_host_*_key"
                                " && cat /data/matriz/state/*.json /data/matriz/keepsake")

    def is_kept(self, before):
        after = self.kept()
        self.report.check("host key, faders and other data are kept", after == before, f"{before} before, {after} after")

    def tells_the_mistake(self, told):
        """Started with wrong settings, of which this is `told`, it plays on with those of before."""
        messages = self.machine.ssh("matriz system messages", seconds=PATIENCE)
        self.report.check(f"a wrong settings file is reported: {told}", told in messages, messages)
        self.registers()  # which it can only with the settings of before

    def identity(self):
        """Of the file system on the data partition: its random UUID, in ext4's superblock."""
        with open(self.card.file, "rb") as card:
            card.seek(self.card.partitions[7][1] + 1024 + 104)
            return card.read(16)

    def is_reset(self):
        """Off, it is given a file FACTORY-RESET and switched on; nobody can go in afterwards."""
        before = self.identity()
        self.card.write(1, "FACTORY-RESET", "")
        self.machine.power_on()
        self.report.attempt("a file FACTORY-RESET is carried out", lambda: self.machine.wait(
            lambda: "FACTORY-RESET" not in self.card.names(1), PATIENCE, "the file to go"))
        self.machine.wait_said("Reached target.*multi-user", PATIENCE)
        self.report.check("the data partition was made anew", self.identity() != before)
        names = self.card.names(1)
        self.report.check("the keys are gone from the card", "authorized_keys" not in names, names)
        self.report.check("the settings are those that are shipped", self.card.read(1, "matriz.toml") == SHIPPED.read_bytes())
        try:
            self.machine.wait_ssh(20)
            open_door = True
        except Trouble:
            open_door = False
        self.report.check("without a key on the card there is no SSH", not open_door)
        failed = re.findall(r"Failed to start.*", self.machine.said())
        self.report.check("nothing fails to start with the settings that are shipped", not failed, failed)
