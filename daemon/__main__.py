"""`hrmd` and `python -m daemon`: the command line, also for torchrun."""

import sys


def start() -> int:
    """Run a command and return its exit code; whoever changes his mind before it is there hears so in one line."""
    try:
        from daemon.cli import main
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(start())
