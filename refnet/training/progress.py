"""What a run says while it trains: one line that moves on a terminal, plain lines elsewhere."""
import sys
import time


class Progress:
    """Says how far a run is and how long it still takes.

    total   optimizer steps to go in all; the time left is judged from those done here
    quiet   say nothing at all (every process but the first)
    """

    def __init__(self, total: int, quiet: bool = False):
        self.total, self.quiet, self.live = total, quiet, sys.stdout.isatty()
        self.started = self.said = time.monotonic()
        self.done = 0

    def due(self) -> bool:
        """True twice a second on a terminal, every ten seconds elsewhere."""
        return time.monotonic() - self.said > (0.5 if self.live else 10.0)

    def step(self, n: int = 1) -> None:
        """n more steps are done."""
        self.done += n

    def tell(self, text: str) -> None:
        """Say where the run stands, and the time left."""
        self.said = time.monotonic()
        if self.quiet:
            return
        left = (self.said - self.started) / max(self.done, 1) * max(self.total - self.done, 0)
        line = f"{text}   {clock(left)} left"
        print(f"\r{line}\x1b[K" if self.live else line, end="" if self.live else "\n", flush=True)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if not self.quiet:
            print(f"\r\x1b[K{text}" if self.live else text, flush=True)


def clock(seconds: float) -> str:
    """75 → 1 min 15 s"""
    s = round(seconds)
    return f"{s} s" if s < 60 else f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"
