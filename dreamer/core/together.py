"""Many dreams at once: what each of them has to look at next is looked at in one pass.

Small pictures keep a processor busy with anything but arithmetic. Views of one size make one batch,
and one pass forward and one backward give the gradients of all: each picture has its own objective,
of its own slice of the activations, and in a network in evaluation mode no picture of a batch has
to do with another. So each dream is what it would be alone, but for rounding.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamer.core.ascent import Step
from dreamer.core.sight import Network, Question, is_short
from dreamer.core.transforms import Looks

PIXELS = 1 << 18
"""Of the views in one pass, about. More are no quicker: what is computed no longer stays in the
processor's cache."""

Loop = Iterator[Question | Step]


@dataclass(frozen=True)
class Layers:
    """The layers of one network that dreams look at.

    Attributes:
        names: in order of depth; nothing is computed past the deepest that a pass needs.
        cut: keeps of the network what some of them need.
    """

    names: Sequence[str]
    cut: Callable[[Sequence[str]], Network]


def together(loops: Sequence[Loop], layers: Layers) -> Iterator[tuple[int, Step | None]]:
    """Run many dreams, a step of each in turn.

    Views that cannot be seen with others are seen by themselves: those in tiles, with a likeness,
    with several regions, of caricatures, and all where steps are replayed.

    Args:
        loops: of `ascent.asking`, all of one network on one device; those that come first begin
            first.
        layers: that network's.

    Yields:
        The index of a dream with its `Step` after each step, and with None when it is finished.
    """
    passes = _Passes(layers)
    waiting = deque(enumerate(loops))
    going: list[tuple[int, Loop]] = []
    while waiting or going:
        asked: list[tuple[int, Loop, Question]] = []
        room = 1
        while going or (waiting and len(asked) < room):
            index, loop = going.pop() if going else waiting.popleft()
            question = yield from _onwards(index, loop)
            if question is not None:
                asked.append((index, loop, question))
                room = max(room, _room(question))
        passes.answer([question for _, _, question in asked])
        going = [(index, loop) for index, loop, _ in reversed(asked)]


def _onwards(index: int, loop: Loop) -> Generator[tuple[int, Step | None], None, Question | None]:
    """Run a dream to its next question; None if it has come to its end, and said so."""
    for said in loop:
        if isinstance(said, Question):
            return said
        yield index, said
    yield index, None
    return None


class _Passes:
    """Answers questions in as few passes as are quick."""

    def __init__(self, layers: Layers) -> None:
        self._names = list(layers.names)
        self._cut = layers.cut
        self._networks: dict[int, Network] = {}

    def answer(self, questions: Sequence[Question]) -> None:
        """Answer all of them."""
        alike: dict[object, list[tuple[int, Question]]] = {}
        for question in questions:
            if question.simple:
                alike.setdefault(_kind(question), []).append((self._depth(question), question))
            else:
                question.look()
        for found in alike.values():
            found.sort(key=lambda pair: pair[0])  # those that look less deep are not held up
            count = math.ceil(len(found) / _room(found[0][1]))
            ends = [round(len(found) * k / count) for k in range(count + 1)]
            for first, last in itertools.pairwise(ends):
                part = found[first:last]
                self._in_one([question for _, question in part], part[-1][0])

    def _in_one(self, questions: Sequence[Question], depth: int) -> None:
        """Answer questions in one pass, or one by one where the memory is too short for that."""
        try:
            if len(questions) > 1:
                return _look(questions, self._network(depth))
        except (MemoryError, RuntimeError) as error:
            if not is_short(error):
                raise
        for question in questions:
            question.look()
        return None

    def _depth(self, question: Question) -> int:
        (goal,) = question.goals
        return max(map(self._names.index, goal.objective.layers))

    def _network(self, depth: int) -> Network:
        if depth not in self._networks:
            self._networks[depth] = self._cut(self._names[: depth + 1])
        return self._networks[depth]


def _look(questions: Sequence[Question], network: Network) -> None:
    """Answer simple questions about views of one size in one pass."""
    placements = [question.scene.placement for question in questions]
    canvases = [q.scene.read((0, 0, *q.scene.placement.canvas)) for q in questions]
    looks = Looks(canvases, placements)
    answers = {name: values.chunk(len(questions)) for name, values in network(looks.pixels).items()}
    scores: dict[int, Tensor] = {}
    for row, index in enumerate(looks.order):
        (goal,) = questions[index].goals
        seen = {name: answers[name][row] for name in goal.objective.layers}
        locate, banks = placements[index].locate, questions[index].sight.banks
        scores[index] = goal.objective(seen, locate, banks)
    slopes = looks.gradients(torch.stack([*scores.values()]).sum())
    for index, score in scores.items():
        questions[index].answer(score.item(), [slopes[index]])


def _kind(question: Question) -> object:
    """Return what views have in common that can be seen in one pass."""
    base, placement = question.scene.base, question.scene.placement
    return placement.canvas, placement.margin, base.dtype, base.device


def _room(question: Question) -> int:
    """Return how many views of that size are seen in one pass."""
    return max(1, round(PIXELS / math.prod(question.scene.placement.size)))
