"""Cooperative scheduling: one works at a time, and what several need is loaded once for all."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from stages.lockstep import Lockstep, Member, current_member, working_clock

LIMIT_S = 60.0


class Recorder:
    """What happened in which order, and how many worked at once."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.working, self.most = 0, 0

    @contextmanager
    def loading(self, name: str) -> Iterator[str]:
        self.events.append(f"+{name}")
        yield name
        self.events.append(f"-{name}")

    @contextmanager
    def work(self, event: str) -> Iterator[None]:
        self.working += 1
        self.most = max(self.most, self.working)
        self.events.append(event)
        yield
        self.working -= 1


def go_through(
    names: Sequence[str], recorder: Recorder, member: Member, number: int, joined: str = ""
) -> None:
    """Borrow what is named, as a model does."""
    with member:
        for name in names:
            if name not in joined:
                member.barrier(name)
            loaded = member.load(name, partial(recorder.loading, name))
            with recorder.work(f"{number}{loaded}"):
                pass


def run(
    members: Sequence[Callable[[Member, int], None]], starts: Sequence[int] = ()
) -> list[Future[None]]:
    """Carry members out, their threads started in this order."""
    futures: dict[int, Future[None]] = {}

    def carry_out(number: int) -> None:
        with lockstep.member(number) as member:
            members[number](member, number)

    with Lockstep(len(members)) as lockstep, ThreadPoolExecutor(len(members)) as threads:
        for number in starts or range(len(members)):
            futures[number] = threads.submit(carry_out, number)
        for future in futures.values():
            future.exception(LIMIT_S)
    return [futures[number] for number in range(len(members))]


@pytest.mark.parametrize("starts", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_each_is_loaded_once_in_an_order_that_no_thread_changes(starts: tuple[int, ...]) -> None:
    recorder = Recorder()
    run([partial(go_through, "ab", recorder)] * 3, starts)
    assert recorder.events == ["+a", "0a", "1a", "2a", "-a", "+b", "0b", "1b", "2b", "-b"]
    assert recorder.most == 1


def test_joined_loads_belong_to_one_phase() -> None:
    recorder = Recorder()
    run([partial(go_through, "abcd", recorder, joined="bd")] * 2)
    expected = "+a 0a +b 0b 1a 1b -b -a +c 0c +d 0d 1c 1d -d -c"
    assert " ".join(recorder.events) == expected


def test_who_has_been_in_the_fewest_phases_decides_what_is_loaded() -> None:
    recorder = Recorder()
    sequences = ("abcd", "cd", "d")
    run([partial(go_through, names, recorder) for names in sequences])
    expected = "+a 0a -a +c 1c -c +d 2d 1d -d +b 0b -b +c 0c -c +d 0d -d"
    assert " ".join(recorder.events) == expected


def test_any_sequences_come_to_their_end() -> None:
    draw = random.Random(0)
    for _ in range(20):
        recorder = Recorder()
        sequences = [draw.choices("abc", k=draw.randrange(6)) for _ in range(6)]
        run([partial(go_through, names, recorder) for names in sequences])
        for number, names in enumerate(sequences):
            mine = [e[1] for e in recorder.events if e[0] == str(number)]
            assert mine == names
        assert recorder.most <= 1


def test_who_fails_or_never_begins_keeps_nobody_waiting() -> None:
    recorder = Recorder()

    def fail(member: Member, number: int) -> None:
        with member:
            member.barrier("a")
            raise KeyError(number)

    def stay_away(member: Member, number: int) -> None:
        pass

    steady = partial(go_through, "ab", recorder)
    ended = run([fail, steady, stay_away, steady])
    assert isinstance(ended[0].exception(), KeyError)
    assert recorder.events == ["+a", "1a", "3a", "-a", "+b", "1b", "3b", "-b"]


def test_what_cannot_be_loaded_fails_who_asked_and_the_next_asks_again() -> None:
    recorder, asked = Recorder(), []

    @contextmanager
    def damaged() -> Iterator[str]:
        asked.append("a")
        if len(asked) == 1:
            raise OSError("damaged")
        yield "a"

    def ask(member: Member, number: int) -> None:
        with member:
            member.barrier("a")
            recorder.events.append(f"{number}{member.load('a', damaged)}")

    ended = run([ask, ask])
    assert isinstance(ended[0].exception(), OSError) and recorder.events == ["1a"]


def test_an_error_while_unloading_is_one_members_and_the_others_go_on() -> None:
    recorder = Recorder()

    @contextmanager
    def stuck() -> Iterator[str]:
        yield "a"
        raise OSError("stuck")

    def first(member: Member, number: int) -> None:
        with member:
            member.barrier("a")
            member.load("a", stuck)
            member.barrier("b")
            recorder.events.append(f"{number}b")

    ended = run([first] * 3)
    assert [type(future.exception()) for future in ended] == [type(None), type(None), OSError]
    assert recorder.events == ["0b", "1b"]


def test_what_several_phases_need_may_stay_until_the_end() -> None:
    recorder = Recorder()

    def visit(member: Member, number: int) -> None:
        with member:
            for name in "aba":
                member.barrier(name)
                member.load(name, partial(recorder.loading, name), until_end=name == "a")

    run([visit] * 2)
    assert recorder.events == ["+a", "+b", "-b", "-a"]


def test_a_member_that_left_may_come_again() -> None:
    recorder = Recorder()

    def twice(member: Member, number: int) -> None:
        go_through("a", recorder, member, number)
        go_through("b", recorder, member, number)

    run([twice, partial(go_through, "b", recorder)])
    assert sorted(e for e in recorder.events if e[0] in "01") == ["0a", "0b", "1b"]


def test_the_clock_of_a_member_stands_still_while_it_waits() -> None:
    paused: list[float] = []

    def wait(member: Member, number: int) -> None:
        assert current_member() is member
        member.barrier("a")
        paused.append(member.paused_s)
        before, member.paused_s = working_clock(), member.paused_s + 1000
        assert before - working_clock() > 999

    ended = run([wait] * 2)
    assert [future.exception() for future in ended] == [None] * 2 and min(paused) > 0
    assert current_member() is None
