import asyncio
import fcntl

import pytest

from moorage.environments.single_flight import SingleFlight, file_lock


class Work:
    """Work that ends when it is released, with `result` or, if that is an exception, by raising it."""

    def __init__(self, result: object = "result") -> None:
        self.result = result
        self.runs = 0
        self.released = asyncio.Event()

    async def __call__(self) -> object:
        self.runs += 1
        await self.released.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def start(flight: SingleFlight, name: str, work: Work) -> tuple[asyncio.Task, list[str]]:
    """A caller that has got as far as it can without the work's end, and what it was told meanwhile."""
    told: list[str] = []
    task = asyncio.create_task(flight.run(name, work, lambda: told.append("waiting")))
    await asyncio.sleep(0)
    return task, told


def test_callers_of_one_name_share_one_run_and_the_later_ones_are_told():
    async def scenario():
        flight, work = SingleFlight(), Work()
        first, told_first = await start(flight, "a", work)
        second, told_second = await start(flight, "a", work)
        work.released.set()
        assert await asyncio.gather(first, second) == ["result", "result"]
        assert (work.runs, told_first, told_second) == (1, [], ["waiting"])

    asyncio.run(scenario())


def test_failure_reaches_everyone_and_the_next_call_starts_anew():
    async def scenario():
        flight, work = SingleFlight(), Work(ValueError("broken"))
        first, _ = await start(flight, "a", work)
        second, _ = await start(flight, "a", work)
        work.released.set()
        for task in (first, second):
            with pytest.raises(ValueError, match="broken"):
                await task
        work.result = "repaired"
        assert await flight.run("a", work, lambda: None) == "repaired"
        assert work.runs == 2

    asyncio.run(scenario())


def test_one_who_waits_takes_over_when_the_first_caller_is_cancelled():
    async def scenario():
        flight, work = SingleFlight(), Work()
        first, _ = await start(flight, "a", work)
        second, _ = await start(flight, "a", work)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.released.set()
        assert await second == "result"
        assert work.runs == 2

    asyncio.run(scenario())


def test_cancelling_one_who_waits_leaves_the_work_alone():
    async def scenario():
        flight, work = SingleFlight(), Work()
        first, _ = await start(flight, "a", work)
        second, _ = await start(flight, "a", work)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        work.released.set()
        assert await first == "result"
        assert work.runs == 1

    asyncio.run(scenario())


def test_other_names_do_not_wait():
    async def scenario():
        flight, held, free = SingleFlight(), Work(), Work("free")
        first, _ = await start(flight, "a", held)
        free.released.set()
        assert await flight.run("b", free, lambda: None) == "free"
        held.released.set()
        await first

    asyncio.run(scenario())


def test_file_lock_waits_for_its_holder_and_says_so_once(tmp_path):
    async def scenario():
        path, told, held = tmp_path / "locks" / "a.lock", [], asyncio.Event()
        path.parent.mkdir()

        async def take():
            async with file_lock(path, lambda: (told.append("waiting"), held.set())):
                told.append("taken")

        with path.open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            task = asyncio.create_task(take())
            await held.wait()
            assert told == ["waiting"]
        await task
        assert told == ["waiting", "taken"]
        await take()
        assert told == ["waiting", "taken", "taken"]

    asyncio.run(scenario())
