"""CPU and memory of processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from moorage.compute.local import is_alive
from moorage.telemetry.usage import Process, Reading, UsageSampler, read_process


class World:
    """Processes by pid: their start ticks and what reading them gives."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.processes: dict[int, tuple[int, Reading]] = {}

    def sampler(self, cpus: int = 4) -> UsageSampler:
        return UsageSampler(self.is_running, self.read, cpus, lambda: self.seconds)

    def is_running(self, pid: int, started_at: int) -> bool:
        return pid in self.processes and self.processes[pid][0] == started_at

    def read(self, pid: int) -> Reading | None:
        return self.processes[pid][1] if pid in self.processes else None


def test_cpu_is_the_share_of_all_cpus_since_the_look_before() -> None:
    world = World()
    sampler = world.sampler(cpus=4)
    world.processes[7] = (1, Reading(100.0, 50))
    [first] = sampler.look([Process("r", 7, 1)]).values()
    assert (first.cpu_percentage, first.memory_bytes) == (None, 50)
    world.seconds = 10.0
    world.processes[7] = (1, Reading(120.0, 60))
    [second] = sampler.look([Process("r", 7, 1)]).values()
    assert (second.cpu_percentage, second.memory_bytes) == (50.0, 60)


def test_a_process_that_has_gone_is_left_out_and_forgotten() -> None:
    world = World()
    sampler = world.sampler()
    world.processes[7] = (1, Reading(1.0, 50))
    sampler.look([Process("r", 7, 1)])
    del world.processes[7]
    assert sampler.look([Process("r", 7, 1)]) == {}
    assert sampler._earlier == {}


def test_another_process_with_the_same_pid_is_not_taken_for_the_replica() -> None:
    world = World()
    sampler = world.sampler()
    world.processes[7] = (2, Reading(1.0, 50))
    assert sampler.look([Process("r", 7, 1)]) == {}


def test_this_very_process_is_read() -> None:
    ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
    sampler = UsageSampler(is_alive)
    process = Process("me", os.getpid(), ticks)
    assert sampler.look([process])["me"].memory_bytes > 2**20
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    used = sampler.look([process])["me"].cpu_percentage
    assert used is not None
    assert 0 < used <= 101


@pytest.mark.parametrize("pid", [2**22 + 1])
def test_a_pid_of_nobody_reads_as_none(pid: int) -> None:
    assert read_process(pid) is None
