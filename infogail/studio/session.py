"""The loop in real time that the rooms Drive and Watch share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from infogail.studio.processes import Channel, Message

BEHIND = 0.5  # [s]; a session that is later than this does not try to catch up


class Session(ABC):
    """Takes each step when it is due, and hears the page between steps."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.going = False
        """Whether steps are taken; otherwise the session waits for the page."""
        self.due = 0.0
        """When the next step is due, as `time.monotonic` counts [s]."""
        self.over = False
        """Whether the page has ended the session."""

    def run(self) -> None:
        """Begin, and go on until the session is over.

        Raises:
            EOFError: the page has gone.
        """
        self.begin()
        while True:
            for message in self.channel.messages(self.due if self.going else None):
                self.hear(message)
                if self.over:
                    return
            if not self.going:
                continue
            if time.monotonic() - self.due > BEHIND:
                self.due = time.monotonic()
            self.advance()
            self.due += 1 / self.rate

    def go(self) -> None:
        """Take steps from now on."""
        self.going, self.due = True, time.monotonic()

    @property
    @abstractmethod
    def rate(self) -> float:
        """Steps per second."""

    @abstractmethod
    def begin(self) -> None:
        """Start an episode."""

    @abstractmethod
    def hear(self, message: Message) -> None:
        """Act on a message of the page."""

    @abstractmethod
    def advance(self) -> None:
        """Take one step."""
