"""Runs a command and writes what the kernel says of it: `measure.py SECONDS_MAX REPORT COMMAND…`.

The report: {"seconds":…,"cpuSeconds":…,"peakBytes":…} of the process and the children that it waited for. Small, since a
new process begins with the memory of the one that started it as its peak.
"""

import os
import signal
import sys
import time

seconds_max, report, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
start = time.monotonic()
pid = os.posix_spawnp(command[0], command, os.environ)
signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(seconds_max)
_, status, usage = os.wait4(pid, 0)
seconds = time.monotonic() - start
with open(report, "w", encoding="ascii") as file:
    file.write(f'{{"seconds":{seconds},"cpuSeconds":{usage.ru_utime + usage.ru_stime},"peakBytes":{usage.ru_maxrss * 1024}}}')
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
