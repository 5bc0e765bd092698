import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from moorage.environments.log import BuildLog, mask_credentials


class Clock:
    """A wall clock in another zone, and a monotonic clock that moves when told."""

    seconds = 0.0

    def now(self) -> datetime:
        start = datetime(2026, 11, 21, 5, 44, tzinfo=timezone(timedelta(hours=2)))
        return start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return BuildLog(tmp_path / "deployment" / "build.log", clock=clock.now, monotonic=clock.monotonic)


def test_each_line_has_its_utc_time_and_can_be_read_at_once(log):
    log.line("first\nsecond")
    assert log.path.read_text() == ("[2026-11-21 03:44:00 +0000] first\n[2026-11-21 03:44:00 +0000] second\n")


def test_steps_tell_their_duration(log, clock):
    with log.step("resolve"):
        clock.seconds += 1.238
    assert log.path.read_text().splitlines() == [
        "[2026-11-21 03:44:00 +0000] resolve: started",
        "[2026-11-21 03:44:01 +0000] resolve: done in 1.24 s",
    ]


@pytest.mark.parametrize(("error", "word"), [(ValueError, "failed"), (asyncio.CancelledError, "canceled")])
def test_steps_that_break_off_say_how_and_after_what_time(log, clock, error, word):
    def break_off() -> None:
        with log.step("download"):
            clock.seconds += 0.1
            raise error

    with pytest.raises(error):
        break_off()
    assert log.path.read_text().splitlines()[-1].endswith(f"download: {word} after 0.10 s")


def test_full_log_takes_steps_and_the_conclusion_only(tmp_path):
    log = BuildLog(tmp_path / "build.log", max_bytes=300)
    for _ in range(100):
        log.line("much output")
    with log.step("install"):
        log.line("more output")
    log.conclude("the reason")
    text = log.path.read_text()
    assert text.count("only steps follow") == 1
    assert "more output" not in text
    assert [line.split("] ")[1] for line in text.splitlines()[-3:-2]] == ["install: started"]
    assert text.endswith("the reason\n")
    assert len(text) < 700


def test_steps_that_come_for_ever_are_bounded_too(tmp_path):
    log = BuildLog(tmp_path / "build.log", max_bytes=3000)
    for number in range(500):
        log.conclude(f"replica {number} is ready")
    text = log.path.read_text()
    assert len(text) <= 2 * 3000
    assert text.startswith("[earlier lines were dropped")
    newest = [line.split("] ")[1] for line in text.splitlines()[-2:]]
    assert newest == ["replica 498 is ready", "replica 499 is ready"]
    log.line("still full")
    assert "still full" not in log.path.read_text()


def test_log_that_is_opened_again_is_continued_within_its_bound(tmp_path):
    path = tmp_path / "build.log"
    path.write_text("x" * 400)
    BuildLog(path, max_bytes=300).line("not written")
    BuildLog(path, max_bytes=1000).line("appended")
    assert path.read_text().startswith("x" * 400)
    assert "not written" not in path.read_text()
    assert path.read_text().endswith("appended\n")


def test_very_long_lines_are_cut(log):
    log.line("y" * 100_000)
    assert len(log.path.read_text()) < 5000


def test_credentials_never_reach_the_file(log):
    log.line("Indexes: https://user:pa@ss@host/simple, https://token@other/simple and \x1b[1mgit+ssh://git@h/r@v1")
    text = log.path.read_text()
    assert "pa" not in text.replace("path", "")
    assert "https://***@host/simple" in text
    assert "https://***@other/simple" in text
    assert "h/r@v1" in text
    assert "\x1b" not in text


def test_masking_leaves_other_text_alone():
    text = "pkg @ https://host/a@b and someone@example.org at 12:30:00"
    assert mask_credentials(text) == text


def test_clock_is_real_by_default(tmp_path):
    log = BuildLog(tmp_path / "build.log")
    before = datetime.now(UTC).replace(microsecond=0)
    log.line("now")
    stamp = datetime.strptime(log.path.read_text()[1:26], "%Y-%m-%d %H:%M:%S %z")
    assert before <= stamp <= datetime.now(UTC)
