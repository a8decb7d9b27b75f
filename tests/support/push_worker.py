"""Push a release again and again in processes that may be killed: `push_worker.py FOLDER REPO`.

The packages are imported and the release is verified once; each line on stdin makes a child
that pushes. The child's number and its end are told on stdout.
"""

from __future__ import annotations

import os
import sys

from cellresponse.releases.hub import push as pushing
from cellresponse.releases.hub.repo import limit_waiting
from cellresponse.releases.verify import verify


def main(folder: str, repo: str) -> None:
    verified = verify(folder)
    pushing.verify = lambda folder: verified
    print("ready", flush=True)
    while sys.stdin.buffer.raw.read(1):
        child = os.fork()
        if child == 0:
            print(f"pid {os.getpid()}", flush=True)
            sys.stdin.buffer.raw.read(1)  # the test has set its trap
            limit_waiting()
            print(*pushing.push_lines(pushing.push(folder, repo)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"end {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
