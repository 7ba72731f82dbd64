"""A worker that is asked over a network: messages are numbered, so that one that comes twice, or too late, does no harm."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from digitsweep.data import TrainingData
from digitsweep.families.outside import Origin
from digitsweep.training.worker import train_all
from digitsweep.trial import TrialResult

ANSWER_SECONDS = 5.0
"""A worker that has nothing to say answers after so long."""
WEIGHTS = "weights"
"""Asks for the weights of the trial that has just ended."""

Message = tuple[int, Any]
"""A number, counted from 1 in each direction, and what it is about."""


@dataclasses.dataclass(frozen=True)
class Crashed:
    """The last message of a worker whose loop ended with an error."""

    reason: str


class RemoteWorker:
    """Trains in a thread, and answers meanwhile. Its results leave their weights behind until they are asked for."""

    def __init__(self, environment: Mapping[str, str], data: TrainingData, origins: Mapping[str, Origin]) -> None:
        """environment: variables that TensorFlow reads before it starts; origins: as for `train_all`."""
        os.environ.update(environment)
        self._changed = threading.Condition()
        self._inbox: list[Any] = []
        self._taken = 0
        """The number of the last message that came in."""
        self._outbox: list[Message] = []
        """What the coordinator may not have received yet."""
        self._sent = 0
        self._calls = 0
        self._weights: Any = None
        threading.Thread(target=self._run, args=(data, origins), name="digitsweep-worker", daemon=True).start()

    def exchange(self, messages: Sequence[Message], received: int) -> tuple[int, list[Message]]:
        """Takes messages, and returns those that the caller lacks; waits for some, but not long.

        messages: all that may not have arrived yet; received: the number of the last message that the caller has.

        Returns the number of the last message that has arrived here, and the messages."""
        deadline = time.monotonic() + ANSWER_SECONDS
        with self._changed:
            self._calls += 1
            call = self._calls
            for number, message in messages:
                if number > self._taken:
                    self._taken = number
                    if message == WEIGHTS:
                        self.send(self._weights)
                    else:
                        self._inbox.append(message)
            self._outbox = [each for each in self._outbox if each[0] > received]
            self._changed.notify_all()
            while not self._outbox and call == self._calls and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._taken, list(self._outbox)

    def send(self, message: Any, /) -> None:
        """Queues a message for the coordinator."""
        with self._changed:
            if isinstance(message, TrialResult):
                self._weights = message.weights
                message = dataclasses.replace(message, weights=None)
            self._sent += 1
            self._outbox.append((self._sent, message))
            self._changed.notify_all()

    def recv(self) -> Any:
        """The next message of the coordinator; waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._inbox)
            return self._inbox.pop(0)

    def poll(self) -> bool:
        """Whether `recv` would return at once."""
        return bool(self._inbox)

    def _run(self, data: TrainingData, origins: Mapping[str, Origin]) -> None:
        try:
            train_all(self, lambda: data, origins)
        except BaseException as error:  # a process that serves nobody must not live on as if it trained
            self.send(Crashed(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
