"""Coroutines that run in threads and greenlets, in unfavorable conditions."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import traceback

import pytest
from support.rawsocket import PATIENCE

from roomkey import Issuer
from roomkey.core.credentials import Request
from roomkey.guard import threads
from roomkey.guard.clock import SystemClock
from roomkey.guard.host import GONE
from roomkey.guard.thread_tasks import Call
from roomkey.guard.threads import ThreadBackground, Threads
from roomkey.socketio import Guard
from roomkey.socketio.primitives import GeventGreenlets

LOG = logging.getLogger("roomkey.guard")


@pytest.fixture
def calm():
    """Here coroutines fail as they should, and it is logged."""


class FewThreads(Threads):
    """An operating system that starts no more threads for a while.

    Attributes:
        exhausted: True while it starts none.
    """

    exhausted = True

    def start(self, function):
        if self.exhausted:
            raise RuntimeError("can't start new thread")
        super().start(function)


def background(primitives=None) -> ThreadBackground:
    made = ThreadBackground(SystemClock())
    if primitives is not None:
        made.use(primitives)
    return made


# Greenlets that are interrupted


def test_monitor_belongs_to_its_owner_after_a_greenlet_was_killed_that_waited_for_it():
    import gevent
    from gevent.event import Event

    tasks = background(GeventGreenlets())
    may_return, called, steps = Event(), Event(), []

    def wait():
        called.set()
        may_return.wait()

    async def interrupted():
        try:
            await Call(wait)
        finally:
            assert tasks.monitor.is_mine()
            steps.append("cleaned up")

    greenlet = gevent.spawn(lambda: tasks.run(interrupted()))
    called.wait()
    with tasks.monitor:
        may_return.set()
        gevent.sleep(0)  # it waits for the monitor now
        greenlet.kill(block=False)
        gevent.sleep(0)
        assert tasks.monitor.is_mine()
        assert steps == []
    greenlet.join(PATIENCE)
    assert steps == ["cleaned up"]
    assert tasks.monitor._owner is None
    assert tasks.monitor._depth == 0


# An operating system without further threads


def test_timer_calls_back_after_no_thread_could_be_started():
    primitives = FewThreads()
    tasks, passed = background(primitives), threading.Event()
    with pytest.raises(RuntimeError):
        tasks.timers.after(passed.set, 0.0)
    primitives.exhausted = False
    tasks.timers.after(lambda: None, 0.0)
    assert passed.wait(PATIENCE)


def test_connection_without_a_timer_is_not_kept():
    guard = Guard(Issuer.ephemeral(audience="chat").verifier())
    guard.background.use(FewThreads())
    with pytest.raises(RuntimeError):
        guard.accept(Request(), "192.0.2.1", GONE)
    assert guard.index.anonymous_from("192.0.2.1") == 0


def test_task_runs_after_no_thread_could_be_started(monkeypatch):
    monkeypatch.setattr(threads, "RELIEF_SECONDS", 0.01)
    primitives = FewThreads()
    tasks, done = background(primitives), threading.Event()

    async def work():
        await Call(lambda: None)
        done.set()

    primitives.exhausted = False
    tasks.timers.after(lambda: None, 0.5)  # there is a thread for timers
    primitives.exhausted = True
    tasks.spawn(work())
    primitives.exhausted = False
    assert done.wait(PATIENCE)


def test_task_runs_although_all_workers_wait_for_ever(monkeypatch):
    monkeypatch.setattr(threads, "RELIEF_SECONDS", 0.01)
    tasks, done, for_ever = background(), threading.Event(), threading.Event()

    async def stuck():
        await Call(for_ever.wait)

    async def work():
        await Call(lambda: None)
        done.set()

    for _ in range(threads.MAX_WORKERS):
        tasks.spawn(stuck())
    tasks.spawn(work())
    try:
        assert done.wait(PATIENCE)
    finally:
        for_ever.set()


# Processes that fork


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_tasks_run_in_a_child_that_was_forked_while_others_ran(monkeypatch):
    monkeypatch.setattr(Threads, "max_workers", 1)
    tasks, started, may_end, outcomes = background(), threading.Event(), threading.Event(), []

    def busy():
        started.set()
        may_end.wait(PATIENCE)

    async def work(name, function):
        await Call(function)
        outcomes.append(name)

    def in_child():
        assert started.is_set()
        done = threading.Event()
        tasks.spawn(work("child", done.set))
        assert done.wait(PATIENCE)
        tasks.run(tasks.settle())
        assert outcomes == ["child"]

    tasks.spawn(work("busy", busy))
    tasks.spawn(work("queued", lambda: None))
    assert started.wait(PATIENCE)
    child = fork(in_child)
    assert os.waitpid(child, 0)[1] == 0
    may_end.set()
    tasks.run(tasks.settle())
    assert sorted(outcomes) == ["busy", "queued"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_monitor_of_a_thread_is_free_in_a_child():
    tasks, taken, may_end = background(), threading.Event(), threading.Event()

    def hold():
        with tasks.monitor:
            taken.set()
            may_end.wait(PATIENCE)

    def in_child():
        with tasks.monitor:
            assert tasks.monitor.is_mine()

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(PATIENCE)
    child = fork(in_child)
    assert os.waitpid(child, 0)[1] == 0
    may_end.set()
    holder.join()


def fork(in_child):
    """Call a function in a child process, which exits with 0 if the function returns within some seconds."""
    child = os.fork()
    if child:
        return child
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    try:
        in_child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


# Logs


def test_logging_does_not_wait_with_the_monitor():
    """A handler that sends log lines to clients takes its own lock first, and then the monitor."""
    tasks, inside, done = background(), threading.Event(), threading.Event()

    class Sender(logging.Handler):
        def emit(self, entry):
            if entry.msg == "first":
                inside.set()
                assert may_go_on.wait(PATIENCE)
            with tasks.monitor:
                pass

    may_go_on, handler = threading.Event(), Sender()

    async def work():
        may_go_on.set()
        LOG.warning("second")

    LOG.addHandler(handler)
    try:
        threading.Thread(target=LOG.warning, args=("first",), daemon=True).start()
        assert inside.wait(PATIENCE)
        threading.Thread(target=lambda: (tasks.run(work()), done.set()), daemon=True).start()
        assert done.wait(PATIENCE)
    finally:
        LOG.removeHandler(handler)
