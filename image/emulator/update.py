"""What the tests of updates have in common: bundles on the card, an installation, its trial, and power cuts. The sequences are in
`update-test` and `update-soak`; the box is in `trial.py`.
"""

import json
import re
import subprocess
import time
from pathlib import Path

from machine import Trouble, boot_partition, run
from trial import PATIENCE

PROGRESS = re.compile(r"(\w+) (\d+) %")

# The power goes at most so long after a line of progress, a tenth of the way, or after the start of a trial: seconds.
NEXT_LINE, TRIAL = 6, 180


def put_bundles(trial, names):
    """Onto the card, behind its last partition: through the emulated network it would take an hour. {name: (MiB, bytes)}."""
    _, start, size = trial.card.partitions[7]
    at, places = (start + size >> 20) + 1, {}
    for name in names:
        file = Path(trial.options.bundles, f"{name}.raucb")
        run("dd", f"if={file}", f"of={trial.card.file}", "bs=1M", f"seek={at}", "conv=notrunc", "status=none")
        places[name] = at, file.stat().st_size
        at += (file.stat().st_size >> 20) + 1
    return places


def begins(trial, name):
    """An update with a bundle on the card: the process here whose output says how far it is."""
    at, size = trial.places[name]
    command = (f"dd if=/dev/mmcblk0 bs=1M skip={at} count={(size >> 20) + 1} status=none | head -c {size} |"
               " SSH_ORIGINAL_COMMAND=now matriz system receive")
    return subprocess.Popen([*trial.machine.ssh_words(), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def version(trial):
    return trial.machine.ssh("sed -n s/^VERSION_ID=//p /etc/os-release", seconds=PATIENCE).strip()


def committed(trial):
    return boot_partition(trial.card, False)


def install(trial, name):
    """Until the box restarts, into the trial. Says how long what took."""
    begin, said, last = time.monotonic(), [], ""
    with begins(trial, name) as update:
        for line in update.stdout:
            said.append(line)
            if (what := line.split("%")[0].rstrip(" 0123456789\n")) != last:
                last = what
                trial.report.say(f"{time.monotonic() - begin:.0f} s: {line.strip()}")
    good = update.returncode in (0, 255) and "restarts into" in last
    trial.report.check(f"{name}: it is installed", good, f"{update.returncode}: {''.join(said)}")
    how = trial.machine.wait_off(PATIENCE)
    trial.report.check(f"{name}: the box restarts into a trial", how == "restart" and trial.machine.tryboot, how)
    trial.report.say(f"from its first byte to the restart: {time.monotonic() - begin:.0f} s")


def commits(trial, number):
    """After a trial's start: until its slot is the one that starts from now on."""
    old = committed(trial)
    trial.starts(f"{number}: the trial starts")
    trial.report.check(f"{number}: it is the new version", version(trial) == number, version(trial))
    trial.report.attempt(f"{number}: it plays, so it is committed", lambda: trial.machine.wait(
        lambda: committed(trial) != old, 2 * PATIENCE, "autoboot.txt to change"))
    status = trial.status()["machine"]
    trial.report.check(f"{number}: the status says it", number in json.dumps(status), status)


def power_goes(trial, name, where, tenths=range(10)):
    """At a random moment there: while it is `receiving` or `installing`, soon after one of these tenths of it, or in its
    `trial`. Returns which moment that was, in words.
    """
    least, said, moment = 10 * trial.chance.choice(tenths), [], None
    with begins(trial, name) as update:
        for line in update.stdout:
            said.append(line)
            progress = PROGRESS.fullmatch(line.strip())
            if not moment and progress and progress[1] == where and int(progress[2]) >= least:
                seconds = trial.chance.uniform(0, NEXT_LINE)
                time.sleep(seconds)
                trial.machine.power_off()
                moment = f"{seconds:.1f} s after {line.strip()!r}"
    if where == "trial":
        if trial.machine.wait_off(PATIENCE) != "restart" or not trial.machine.tryboot:
            raise Trouble(f"the box does not restart into the trial; it said: {''.join(said)}")
        seconds = trial.chance.uniform(0, TRIAL)
        trial.machine.power_on()
        time.sleep(seconds)
        trial.machine.power_off()
        moment = f"{seconds:.0f} s after the trial has begun"
    if not moment:
        raise Trouble(f"it did not come to {where} {least} %, it said: {''.join(said)}")
    return moment
