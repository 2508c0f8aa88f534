"""Runs a command; prints its exit status, then what it and all that it started took: wall and CPU seconds, and the most
memory that one of them had resident, in MB.

Linux counts the memory of whoever starts a command as the command's own (ru_maxrss outlives exec). So somebody small
has to start it.
"""
import os, sys, time

start = time.monotonic()
silent = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - start
print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
