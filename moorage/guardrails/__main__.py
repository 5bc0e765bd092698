"""`python -m moorage.guardrails --socket PATH`: the guardrail process.

It reads no settings of the server: what it is to know is on its command line.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from moorage.guardrails.checks import Checker
from moorage.guardrails.installed import model_files
from moorage.guardrails.process import GuardrailServer


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    judge = None
    if arguments.judge_url is not None:
        from moorage.guardrails.judge import Judge, JudgeSettings, Taxonomy

        taxonomy = Taxonomy(arguments.judge_taxonomy)
        judge = Judge(JudgeSettings(arguments.judge_url, arguments.judge_model, taxonomy, arguments.judge_token_file))
    socket: Path = arguments.socket
    checker = Checker(model_files(arguments.model_dir), socket.with_name(f"{socket.stem}-model"), judge)
    try:
        await GuardrailServer(checker).serve(socket, stop)
    finally:
        await checker.close()


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m moorage.guardrails")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--judge-url")
    parser.add_argument("--judge-model")
    parser.add_argument("--judge-taxonomy", default="llama-guard-3", help="llama-guard-2 or llama-guard-3")
    parser.add_argument("--judge-token-file", type=Path)
    parser.add_argument("--log-level", default="INFO")
    arguments = parser.parse_args(words)
    logging.basicConfig(level=arguments.log_level, format="%(levelname)s %(name)s: %(message)s")
    # Presidio reports each text's length and each recognizer at INFO.
    logging.getLogger("presidio-analyzer").setLevel(logging.WARNING)
    os.umask(0o077)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
