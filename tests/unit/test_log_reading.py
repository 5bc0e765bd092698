"""Reading a log that is being written, and cut: nothing twice, nothing left out that is still there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.control import log_reading
from moorage.control.log_reading import Line, LogReader
from moorage.replica.process import BoundedLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.log"


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def everything(reader: LogReader, *, to_the_end: bool = False) -> list[str]:
    found = [line.text for line in reader.read(to_the_end=to_the_end)]
    while reader.more:
        found += [line.text for line in reader.read(to_the_end=to_the_end)]
    return found


def test_lines_come_once_each_and_say_where_they_end(path: Path) -> None:
    reader = LogReader(path)
    assert reader.read() == []
    append(path, "one\ntwo\n")
    assert reader.read() == [Line("one", 4), Line("two", 8)]
    assert reader.read() == []
    append(path, "three\n")
    assert reader.read() == [Line("three", 14)]


def test_another_reader_goes_on_where_the_first_one_was(path: Path) -> None:
    append(path, "one\ntwo\nthree\n")
    for line in LogReader(path).read():
        rest = [other.text for other in LogReader(path, line.position).read()]
        assert rest == ["one", "two", "three"][["one", "two", "three"].index(line.text) + 1 :]


def test_a_line_counts_when_it_has_ended(path: Path) -> None:
    reader = LogReader(path)
    append(path, "half")
    assert reader.read() == []
    append(path, " done\nnext")
    assert [line.text for line in reader.read()] == ["half done"]
    assert [line.text for line in reader.read(to_the_end=True)] == ["next"]
    assert reader.read(to_the_end=True) == []


def test_a_line_that_is_left_unfinished_is_shown_after_a_while(path: Path) -> None:
    now = 0.0
    reader = LogReader(path, clock=lambda: now)
    append(path, "Segmentation fault")
    now = path.stat().st_mtime + 1
    assert reader.read() == []
    now += 2
    assert [line.text for line in reader.read()] == ["Segmentation fault"]
    assert reader.read() == []
    append(path, " (core dumped)\n")
    assert [line.text for line in reader.read()] == [" (core dumped)"]


def test_a_carriage_return_ends_no_line(path: Path) -> None:
    append(path, "10%\r20%\n")
    assert [line.text for line in LogReader(path).read()] == ["10%\r20%"]


def test_a_long_line_comes_in_pieces_of_whole_characters(path: Path) -> None:
    text = "a" + "é" * 30 + "語" * 30 + "𝄞" * 30
    append(path, text + "\nend\n")
    reader = LogReader(path, chunk=10)
    pieces = everything(reader)
    assert "".join(pieces[:-1]) == text
    assert pieces[-1] == "end"
    assert "\ufffd" not in "".join(pieces)


def test_the_tail_begins_with_a_whole_line(path: Path) -> None:
    append(path, "first\nsecond\nthird\n")
    assert everything(LogReader.of_tail(path, 10)) == ["third"]
    assert everything(LogReader.of_tail(path, 100)) == ["first", "second", "third"]
    path.write_text("y" * 50)
    assert everything(LogReader.of_tail(path, 10), to_the_end=True) == ["y" * 10]


def test_positions_of_a_tail_are_those_of_the_whole(path: Path) -> None:
    append(path, "first\nsecond\nthird\n")
    assert LogReader.of_tail(path, 10).read() == LogReader(path).read()[-1:]


def test_a_reader_that_keeps_up_notices_no_cut(path: Path) -> None:
    lines = [f"line {number}" for number in range(4000)]
    found: list[str] = []
    reader, log = LogReader(path), BoundedLog(str(path), 5000)
    for first in range(0, len(lines), 50):
        append(path, "".join(f"{line}\n" for line in lines[first : first + 50]))
        found += everything(reader)
        log.trim()
        found += everything(reader)
    assert found == lines


def test_a_reader_that_was_cut_off_is_told_and_goes_on_with_what_is_left(path: Path) -> None:
    append(path, "seen\n")
    reader = LogReader(path)
    assert everything(reader) == ["seen"]
    append(path, "".join(f"line {number}\n" for number in range(1000)))
    BoundedLog(str(path), 5000).trim()
    first, *rest = everything(reader)
    assert first.startswith("[earlier lines were dropped")
    assert rest == [f"line {number}" for number in range(1000)][-len(rest) :]
    assert len(rest) > 200


def test_a_cut_log_is_read_from_its_start_too(path: Path) -> None:
    append(path, "".join(f"line {number}\n" for number in range(1000)))
    BoundedLog(str(path), 5000).trim()
    assert everything(LogReader(path)) == path.read_text().splitlines()
    assert everything(LogReader.of_tail(path, 10**6)) == path.read_text().splitlines()


def test_what_another_thread_writes_while_the_log_is_cut_does_not_confuse_the_reader(path: Path) -> None:
    append(path, "".join(f"line {number}\n" for number in range(1000)))
    reader = LogReader(path)
    everything(reader)
    BoundedLog(str(path), 5000).trim()
    path.write_text("got in between\n" + path.read_text())
    append(path, "after\n")
    assert everything(reader) == ["after"]


def test_a_log_that_somebody_emptied_is_read_anew(path: Path) -> None:
    append(path, "one\ntwo\n")
    reader = LogReader(path)
    everything(reader)
    path.write_text("x\n")
    assert everything(reader) == ["x"]


def test_a_log_that_is_looked_at_in_the_middle_of_a_cut_is_not_read_twice(path: Path) -> None:
    append(path, "".join(f"line {number}\n" for number in range(1000)))
    reader = LogReader(path)
    everything(reader)
    BoundedLog(str(path), 5000).trim()
    kept = path.read_bytes()
    path.write_bytes(b"")  # what a cut does first
    assert everything(reader) == []
    path.write_bytes(kept)
    append(path, "after\n")
    assert everything(reader) == ["after"]


def test_a_log_that_is_cut_while_it_is_read_is_not_read_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, "".join(f"line {number}\n" for number in range(1000)))
    reader, log = LogReader(path), BoundedLog(str(path), 5000)
    everything(reader)
    append(path, "last\n")
    looked = log_reading._cut

    def look_and_cut(file: BinaryIO) -> object:
        found = looked(file)
        monkeypatch.setattr(log_reading, "_cut", looked)
        log.trim()  # between the look at the beginning and the reading
        return found

    monkeypatch.setattr(log_reading, "_cut", look_and_cut)
    assert everything(reader) == ["last"]


def test_a_log_that_goes_away_and_comes_back(path: Path) -> None:
    append(path, "one\n")
    reader = LogReader(path)
    everything(reader)
    os.unlink(path)
    assert reader.read() == []
    append(path, "one\ntwo\n")
    assert everything(reader) == ["two"]


@given(
    st.lists(st.one_of(st.text(alphabet="ab\r\né", max_size=40), st.just("CUT")), max_size=40),
    st.integers(4, 64),
)
def test_whatever_is_written_and_cut_is_read_once_and_in_order(parts: list[str], chunk: int) -> None:
    """The text of all lines together is the text that was written, when the reader keeps up."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.log"
        path.touch()
        log, reader = BoundedLog(str(path), 60), LogReader(path, chunk=chunk)
        written, positions, found = "", [0], ""
        for part in parts:
            if part == "CUT":
                everything(reader, to_the_end=True)
                log.trim()
            else:
                append(path, part)
                written += part
            for line in reader.read(to_the_end=True):
                found += line.text
                positions.append(line.position)
            while reader.more:
                for line in reader.read(to_the_end=True):
                    found += line.text
                    positions.append(line.position)
        assert positions == sorted(positions)
        assert found == written.replace("\n", "")
