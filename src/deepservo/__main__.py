"""The program's door: `deepservo` and `python -m deepservo`."""

import os
import sys


def start() -> int:
    """Run the command line; Ctrl-C ends in one sentence even while it is still being read."""
    try:
        from deepservo.cli import main
    except KeyboardInterrupt:
        print("deepservo: stopped by Ctrl-C, nothing was begun", file=sys.stderr)
        return 2
    code = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    sys.exit(start())
