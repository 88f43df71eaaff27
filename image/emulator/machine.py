"""An emulated Raspberry Pi 2 with a card in its slot: QEMU's `raspi2b`, with this file in the part of the firmware.

QEMU starts a kernel that it is given; what decides which one on a real Pi is played here: `autoboot.txt` on the first
partition names the boot partition, and kernel, device tree and command line are read from there, at every start anew.
A restart ends QEMU (`-no-reboot`), and the next start is decided again. A restart that asks for `tryboot` is seen on
the console and given to the next start, and is forgotten when the power goes, as the firmware's flag is.

Plugged in: a network card (`usb-net`, which reaches this computer as 10.0.2.2), a sound card that plays into a WAV
file, a display of 96 by 16 (SSD0303) on I2C. Emulated time runs slowly: whoever waits must be patient.
Sources: QEMU's docs/system/arm/raspi.rst; Raspberry Pi's documentation of autoboot.txt.
"""

import json
import lzma
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path

# What is said on the command line beside what the card says. The watchdog resets the emulated machine as soon as it is
# opened; the pins are reached through /dev/mem there.
EXTRA = (
    "matriz.emulator systemd.watchdog_sec=0 iomem=relaxed "
    "earlycon=pl011,mmio32,0x3f201000 TERM=dumb systemd.journald.forward_to_console=1 "
    "systemd.journald.max_level_console=warning"
)

# The firmware tells the kernel the board's.
SERIAL = "00000000b8129f01"

RESTART = re.compile(r"reboot: (Restarting system|Power down|System halted)(?: with command '([^']*)')?")


class Trouble(Exception):
    """Something that a test expects did not happen; the sentence says what."""


def run(*words, **options):
    """A program of this computer that must succeed; returns what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode:
        raise Trouble(f"{words[0]}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def free_port():
    """A TCP port of loopback that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Card:
    """An SD card in a file: its partitions, and the files on those that are FAT."""

    SECTOR = 512
    EXTENDED = (0x05, 0x0F)

    def __init__(self, file):
        self.file = Path(file)
        self.partitions = self._read_table()

    @classmethod
    def flash(cls, image, file):
        """A new card from an image, as large as cards come: QEMU wants a power of two."""
        run("cp", "--sparse=always", image, file)
        os.truncate(file, 8 << 30)
        return cls(file)

    def copy(self, file):
        """The same card in another file."""
        run("cp", "--sparse=always", self.file, file)
        return Card(file)

    def _read_table(self):
        """{number: (type, first byte, size)} of the MBR and of the chain of records in its extended partition."""
        found = {}
        with open(self.file, "rb") as card:
            extended = None
            for number, kind, start, size in self._entries(card, 0):
                if kind in self.EXTENDED:
                    extended = start
                else:
                    found[number + 1] = (kind, start * self.SECTOR, size * self.SECTOR)
            number, following = 5, extended
            while following is not None:
                record, following = following, None
                for _, kind, start, size in self._entries(card, record):
                    if kind in self.EXTENDED:
                        following = extended + start
                    else:
                        found[number] = (kind, (record + start) * self.SECTOR, size * self.SECTOR)
                number += 1
        return found

    def _entries(self, card, sector):
        card.seek(sector * self.SECTOR)
        block = card.read(self.SECTOR)
        if block[510:] != b"\x55\xaa":
            raise Trouble(f"{self.file}: there is no partition table in sector {sector}")
        entries = []
        for number in range(4):
            kind, start, size = struct.unpack_from("<4xB3xII", block, 446 + 16 * number)
            if kind:
                entries.append((number, kind, start, size))
        return entries

    def _fat(self, partition):
        return f"{self.file}@@{self.partitions[partition][1]}"

    def read(self, partition, name):
        """A file's bytes, or None."""
        done = subprocess.run(["mtype", "-i", self._fat(partition), f"::{name}"], capture_output=True)
        return done.stdout if done.returncode == 0 else None

    def names(self, partition):
        """The files of a FAT partition's first folder."""
        return run("mdir", "-b", "-i", self._fat(partition), "::").replace("::/", "").split()

    def write(self, partition, name, content):
        """Puts a file there, as a person with a card reader would."""
        if isinstance(content, str):
            content = content.encode()
        subprocess.run(["mcopy", "-o", "-i", self._fat(partition), "-", f"::{name}"], input=content, check=True)

    def remove(self, partition, name):
        run("mdel", "-i", self._fat(partition), f"::{name}")

    def extract(self, partition, file):
        """A whole partition as a file, for programs that read file systems."""
        _, start, size = self.partitions[partition]
        run("dd", f"if={self.file}", f"of={file}", "bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes",
            f"skip={start}", f"count={size}", "status=none")
        return file


def boot_partition(card, tryboot):
    """Which partition the firmware starts from, by `autoboot.txt`."""
    section, choice = "all", {}
    for line in (card.read(1, "autoboot.txt") or b"").decode(errors="replace").splitlines():
        line = line.strip("\0 \t\r")
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("boot_partition="):
            choice[section] = int(line.split("=")[1])
    if tryboot and "tryboot" in choice:
        return choice["tryboot"]
    if "all" not in choice:
        raise Trouble("autoboot.txt names no boot partition")
    return choice["all"]


def unpack_kernel(packed):
    """The kernel itself out of a zImage: the emulated processor would take half a minute for it."""
    for magic, unpack in (
        (b"\x1f\x8b\x08", lambda data: zlib.decompressobj(31).decompress(data)),
        (b"\xfd7zXZ\x00", lambda data: lzma.LZMADecompressor().decompress(data)),
        (b"\x5d\x00\x00", lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)),
    ):
        at = packed.find(magic)
        while at >= 0:
            try:
                kernel = unpack(packed[at:])
                if len(kernel) > len(packed):
                    return kernel
            except (zlib.error, lzma.LZMAError):
                pass
            at = packed.find(magic, at + 1)
    raise Trouble("the card's kernel is packed in a way that is not known here")


class Machine:
    """The computer. `work` is a folder for its console's words, its sockets and its sound."""

    def __init__(self, card, work, sound_card=True, forward=None):
        self.card = card
        self.work = Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.sound_card = sound_card
        self.ssh_port = free_port()
        self.forward = forward or []
        self.tryboot = False
        self.process = None
        self.starts = 0
        self.key = self.work / "key"
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)

    # ---- Power

    def power_on(self, to_terminal=False):
        """Starts from the card. The console goes to a file, and to standard output if so said."""
        self.starts += 1
        partition = boot_partition(self.card, self.tryboot)
        self.tryboot = False
        boot = {name: self.card.read(partition, name) for name in ("zImage", "initramfs", "cmdline.txt", "bcm2836-rpi-2-b.dtb")}
        if not boot["zImage"] or not boot["cmdline.txt"]:
            raise Trouble(f"partition {partition} has no kernel: a Pi would stay dark")
        kernel = self.work / "kernel"
        kernel.write_bytes(unpack_kernel(boot["zImage"]))
        run("mkimage", "-A", "arm", "-O", "linux", "-T", "kernel", "-C", "none", "-a", "0x208000", "-e", "0x208000",
            "-n", "matriz", "-d", kernel, self.work / "uImage")
        self._device_tree(boot["bcm2836-rpi-2-b.dtb"])
        (self.work / "initramfs").write_bytes(boot["initramfs"])
        self.console = self.work / f"console-{self.starts}.log"
        self.wav = self.work / f"sound-{self.starts}.wav"
        forwards = "".join(f",hostfwd={rule}" for rule in [f"tcp:127.0.0.1:{self.ssh_port}-:22", *self.forward])
        words = [
            run(Path(__file__).parent / "qemu").strip(), "-M", "raspi2b", "-name", "matriz,debug-threads=on",
            "-display", "none", "-no-reboot", "-nodefaults",
            "-kernel", self.work / "uImage", "-initrd", self.work / "initramfs", "-dtb", self.work / "dtb",
            "-append", boot["cmdline.txt"].decode().strip() + " " + EXTRA,
            # What a killed QEMU has written is kept by this computer's own memory.
            "-drive", f"file={self.card.file},if=sd,format=raw,cache=unsafe",
            "-chardev", f"{'stdio,signal=on' if to_terminal else 'null'},id=console,logfile={self.console},logappend=off",
            "-serial", "chardev:console",
            "-qmp", f"unix:{self.work / 'qmp'},server=on,wait=off",
            "-netdev", f"user,id=net{forwards}",
            "-device", "usb-hub,id=hub,bus=usb-bus.0,port=1",
            "-device", "usb-net,netdev=net,bus=usb-bus.0,port=1.1,mac=b8:27:eb:12:9f:01",
            "-audiodev", f"wav,id=sound,path={self.wav},out.frequency=48000,out.channels=2,out.format=s16",
            "-device", "ssd0303,id=oled,bus=i2c-bus.1,address=0x3c",
        ]
        if self.sound_card:
            words += ["-device", "usb-audio,id=card,audiodev=sound,bus=usb-bus.0,port=1.2"]
        self.errors = open(self.work / f"qemu-{self.starts}.log", "w")
        self.process = subprocess.Popen(
            [str(word) for word in words],
            stdin=None if to_terminal else subprocess.DEVNULL, stdout=None if to_terminal else self.errors,
            stderr=self.errors,
        )
        self.qmp = None
        self.since = time.monotonic()
        threading.Thread(target=self._spare, args=(self.process, self.console), daemon=True).start()

    def _device_tree(self, shipped):
        """The card's, with what the firmware tells in it, and with the SoC's other SD controller (the firmware's overlay
        `mmc`): the emulated SDHOST loses an interrupt now and then, and a card's data with it.
        """
        tree = self.work / "dtb"
        tree.write_bytes(shipped)
        sdhost, sdhci, pins = "/soc/mmc@7e202000", "/soc/mmc@7e300000", "/soc/gpio@7e200000/emmc-gpio48"
        phandle = run("fdtget", "-t", "x", tree, pins, "phandle").strip()
        for kind, node, name, value in (
            ("s", "/", "serial-number", SERIAL),
            ("s", sdhost, "status", "disabled"),
            ("s", sdhci, "status", "okay"),
            ("s", sdhci, "pinctrl-names", "default"),
            ("x", sdhci, "pinctrl-0", phandle),
            ("x", sdhci, "bus-width", "4"),
        ):
            run("fdtput", "-t", kind, tree, node, name, value)

    @staticmethod
    def _spare(process, console):
        """Gives the time of the three processors that only wait for Linux to the one that starts it, until they are on."""
        waiting = re.compile(r"CPU [123]/TCG")
        on = False
        while not on and process.poll() is None:
            time.sleep(0.5)
            on = console.exists() and "All processors are on." in console.read_text(errors="replace")
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                try:
                    if waiting.match((task / "comm").read_text()):
                        policy = os.SCHED_OTHER if on else os.SCHED_IDLE
                        os.sched_setscheduler(int(task.name), policy, os.sched_param(0))
                except OSError:
                    pass  # it has ended

    def power_off(self):
        """Pulls the plug."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.tryboot = False

    def is_on(self):
        return self.process is not None and self.process.poll() is None

    def wait_off(self, seconds=300):
        """Until the box has restarted or switched itself off; says which. A wish for `tryboot` is remembered."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Trouble(f"the box did not restart within {seconds} s") from None
        last = None
        for last in RESTART.finditer(self.said()):
            pass
        if not last:
            return "reset"
        self.tryboot = last[2] is not None and "tryboot" in last[2]
        return "restart" if last[1].startswith("Restarting") else "off"

    # ---- Console, control

    def said(self):
        """All of this start's console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_said(self, pattern, seconds=300):
        """Until the console has said it; returns the match."""
        expression = re.compile(pattern)
        return self.wait(lambda: expression.search(self.said()), seconds, f"the console to say {pattern!r}")

    def wait(self, ask, seconds, what):
        """Until `ask` returns something true; returns that. Ends when the machine does."""
        until = time.monotonic() + seconds
        while True:
            answer = ask()
            if answer:
                return answer
            if not self.is_on():
                raise Trouble(f"the machine went off while waiting for {what}")
            if time.monotonic() > until:
                raise Trouble(f"waited {seconds} s in vain for {what}")
            time.sleep(0.5)

    def control(self, command, **arguments):
        """A command of QEMU's machine protocol."""
        if self.qmp is None:
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(30)
            link.connect(str(self.work / "qmp"))
            self.qmp = link.makefile("rw")
            self.qmp.readline()
            self.control("qmp_capabilities")
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "error" in answer:
                raise Trouble(f"QEMU, {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def plug(self):
        """Puts the sound card in."""
        self.control("device_add", driver="usb-audio", id="card", audiodev="sound", bus="usb-bus.0", port="1.2")

    def unplug(self):
        """Pulls the sound card out."""
        self.control("device_del", id="card")

    def picture(self, file, form="png"):
        """The display's pixels."""
        self.control("screendump", filename=str(Path(file).resolve()), format=form, device="oled")

    def bright_pixels(self):
        """How many pixels of the display are lit."""
        file = self.work / "oled.ppm"
        self.picture(file, "ppm")
        *_, pixels = file.read_bytes().split(b"\n", 3)
        return sum(value > 127 for value in pixels[::3])

    # ---- SSH

    def wait_ssh(self, seconds=400):
        """Until SSH's greeting comes: the port alone is open as soon as QEMU runs."""
        def greeting():
            try:
                with socket.create_connection(("127.0.0.1", self.ssh_port), 5) as link:
                    link.settimeout(60)
                    return link.recv(64).startswith(b"SSH-")
            except OSError:
                return False
        return self.wait(greeting, seconds, "SSH")

    def ssh_words(self, user="root", key=None):
        """A user's commands share a connection for as long as this start lasts: the emulated processor takes up to half a
        minute for each. The path is relative, as a socket's may not be long.
        """
        shared = os.path.relpath(self.work / f"ssh-{self.starts}-{user}")
        sharing = ["-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o", f"ControlPath={shared}"]
        return [
            "ssh", "-p", str(self.ssh_port), "-i", str(key or self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.work / 'known_hosts'}",
            "-o", "ConnectTimeout=60", "-o", "ServerAliveInterval=20", "-o", "LogLevel=ERROR",
            *([] if key else sharing), f"{user}@127.0.0.1",
        ]

    def ssh(self, command, seconds=240, user="root", key=None, check=True, stdin=None):
        """What a command on the box prints; with `check=False`, (exit code, standard output, standard error).

        A connection that breaks before there is a command on it is tried again: sshd drops some when many come at once.
        """
        for _ in range(5):
            try:
                done = subprocess.run([*self.ssh_words(user, key), command], capture_output=True, text=True,
                                      timeout=seconds, stdin=stdin or subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                raise Trouble(f"{command!r} on the box took longer than {seconds} s") from None
            if done.returncode != 255 or "kex_exchange_identification" not in done.stderr:
                break
            time.sleep(2)
        if check and done.returncode:
            raise Trouble(f"{command!r} on the box: exit code {done.returncode}: {(done.stderr + done.stdout).strip()}")
        return done.stdout if check else (done.returncode, done.stdout, done.stderr)
