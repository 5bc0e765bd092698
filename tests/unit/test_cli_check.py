"""How `moorage check` follows a check and what it prints, with a server made up."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.cli.check import Report, follow, step_text
from moorage.cli.client import ApiRefused, Unreachable

STARTED = {"check_id": "c1", "state": "PENDING", "message": "Waiting for other checks.", "steps": []}


def check(state: str, **steps: str) -> dict[str, Any]:
    listed = [{"name": name, "state": one, "seconds": 1.5, "message": f"{name}!"} for name, one in steps.items()]
    return {"check_id": "c1", "state": state, "message": "The verdict.", "steps": listed}


class Server:
    """Answers in turn; an answer that is an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.deleted: list[str] = []

    def get(self, path: str) -> Any:
        assert path == "/api/2.0/model-checks/c1"
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def delete(self, path: str) -> Any:
        self.deleted.append(path)
        return {}


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def followed(server: Server, lines: list[str]) -> Any:
    time = Time()
    return follow(server, STARTED, Report(lines.append), clock=time, sleep=time.sleep)  # type: ignore[arg-type]


def test_each_step_is_said_once_as_it_ends() -> None:
    lines: list[str] = []
    last = check("FAILED", fetch="OK", load="FAILED", example="SKIPPED")
    server = Server(STARTED, check("RUNNING", fetch="RUNNING"), check("RUNNING", fetch="OK", load="RUNNING"), last)
    assert followed(server, lines) is last
    assert [line.split()[:2] for line in lines] == [["ok", "fetch"], ["failed", "load"], ["skipped", "example"]]
    assert server.deleted == []


def test_a_restart_of_the_server_that_is_short_is_waited_for() -> None:
    last = check("SUCCEEDED", fetch="OK")
    away, busy = Unreachable("no answer"), ApiRefused(503, "TEMPORARILY_UNAVAILABLE", "starting")
    assert followed(Server(away, busy, busy, last), []) is last


def test_a_server_that_stays_away_is_given_up() -> None:
    with pytest.raises(Unreachable):
        followed(Server(Unreachable("no answer")), [])


def test_a_forgotten_check_is_named_as_such() -> None:
    with pytest.raises(ApiRefused, match="has forgotten this check"):
        followed(Server(STARTED, ApiRefused(404, "RESOURCE_DOES_NOT_EXIST", "not found")), [])


def test_another_refusal_ends_the_waiting() -> None:
    with pytest.raises(ApiRefused, match="PERMISSION_DENIED"):
        followed(Server(ApiRefused(403, "PERMISSION_DENIED", "no")), [])


def test_an_interruption_cancels_the_check_on_the_server() -> None:
    server = Server(STARTED, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        followed(server, [])
    assert server.deleted == ["/api/2.0/model-checks/c1"]


def test_further_lines_of_a_message_are_indented() -> None:
    step = {"name": "load", "state": "FAILED", "seconds": 2.0, "message": "It failed:\nTraceback\n  x"}
    assert step_text(step) == "failed   load            2.00 s  It failed:\n    Traceback\n      x"
    assert step_text({"name": "load", "state": "SKIPPED"}) == "skipped  load                 -"


def test_the_verdict_on_a_failed_build_comes_with_the_end_of_its_log() -> None:
    lines: list[str] = []
    log = "".join(f"line {number}\n" for number in range(100))
    Report(lines.append).conclude({**check("FAILED", environment="FAILED"), "build_log": log})
    assert lines[0].splitlines()[1:3] == ["The end of the build log:", "    line 80"]
    assert lines[1] == "\nThe verdict."
