"""From nothing to a served model: start a server, train, log, register, create an endpoint, query it, chat.

Run it with `make demo`. The server stays until Ctrl-C; `ONCE=1` ends it when the prediction has been checked.
`MOORAGE_DATA_DIR` chooses where its data lies (default: `var/demo` in the repository).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

MODEL = "main.default.wine_classifier"
ENDPOINT = "wine-classifier"
SERVED = "wine"
CHAT = "databricks-smollm2-135m-instruct"
EMBEDDINGS = "databricks-all-minilm-l6-v2"
QUESTION = "What is the capital of France? Answer in one sentence."
FIRST_PORT = 8080
READY_SECONDS = 600
STOP_SECONDS = 40

_began = time.monotonic()


class DemoFailed(Exception):
    """The message says what went wrong and where to look."""


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _began:5.1f} s] {text}", flush=True)


def free_port(first: int) -> int:
    """The first free port from `first` on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise DemoFailed(f"no free port between {first} and {first + 99}")


@contextlib.contextmanager
def running_server(data_dir: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """`moorage serve`, ready; stopped as SIGTERM stops it when the block ends."""
    from moorage.supervisor.linux import die_with_parent

    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = data_dir / "server.log"
    demo = os.getpid()
    with log.open("w") as errors:
        # Ctrl-C in the terminal must reach only this program, which then asks the server to stop.
        server = subprocess.Popen(
            [sys.executable, "-m", "moorage", "serve", "--data-dir", str(data_dir), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(demo),
        )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            server.wait()
            lines = log.read_text().strip().splitlines()
            reason = next((each for each in reversed(lines) if each.startswith("error:")), "".join(lines[-1:]))
            raise DemoFailed(f"the server did not start: {reason} (its log: {log})")
        say(line.strip())
        yield server
    finally:
        if server.poll() is None:
            say("stopping the server")
            server.terminate()
            try:
                status = server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                status = server.wait()
            say(f"the server has stopped with exit status {status}")


def connection(data_dir: Path) -> tuple[str, str]:
    """URL and token of the administrator, from the file that the server wrote."""
    from moorage.control.admin_env import read_admin_env

    variables = read_admin_env(data_dir / "admin.env")
    return variables["DATABRICKS_HOST"], variables["DATABRICKS_TOKEN"]


def log_and_register(host: str, token: str) -> tuple[str, list[dict[str, float]], list[int]]:
    """Train on the wine data set and register the model. Returns its version, rows, and what it predicts."""
    say("importing MLflow and scikit-learn")
    os.environ["MLFLOW_TRACKING_TOKEN"] = token
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # The classes are integers, and none can be missing.
    warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer")
    import mlflow
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlflow.set_tracking_uri(host)
    features, classes = load_wine(return_X_y=True, as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(features, classes, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)
    say(f"trained a classifier on {len(train_x)} wines; right on {model.score(test_x, test_y):.0%} of {len(test_x)}")

    mlflow.set_experiment("wine")
    with mlflow.start_run():
        mlflow.log_metric("accuracy", model.score(test_x, test_y))
        logged = mlflow.sklearn.log_model(
            model, name="model", input_example=train_x.head(3), registered_model_name=MODEL
        )
    version = str(logged.registered_model_version)
    say(f"logged it and registered it as {MODEL}, version {version}")
    rows = test_x.head(3)
    return version, rows.to_dict(orient="records"), [int(each) for each in model.predict(rows)]


def create_endpoint(host: str, token: str, version: str) -> None:
    """Create the endpoint with the Databricks SDK and show the build log as it grows, until READY."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import NotFound
    from databricks.sdk.errors.base import DatabricksError
    from databricks.sdk.service.serving import (
        EndpointCoreConfigInput,
        EndpointStateConfigUpdate,
        EndpointStateReady,
        ServedEntityInput,
    )

    workspace = WorkspaceClient(host=host, token=token, auth_type="pat")
    with contextlib.suppress(NotFound):
        workspace.serving_endpoints.delete(ENDPOINT)
        say(f"deleted the endpoint {ENDPOINT} of an earlier run")
    entity = ServedEntityInput(
        name=SERVED,
        entity_name=MODEL,
        entity_version=version,
        workload_size="Small",
        scale_to_zero_enabled=False,
    )
    workspace.serving_endpoints.create(
        ENDPOINT, config=EndpointCoreConfigInput(name=ENDPOINT, served_entities=[entity])
    )
    say(f"created the endpoint {ENDPOINT}; its build log:")
    shown = 0
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        state = workspace.serving_endpoints.get(ENDPOINT).state
        with contextlib.suppress(DatabricksError):
            text = workspace.serving_endpoints.build_logs(ENDPOINT, SERVED).logs
            for line in text[shown:].splitlines():
                print(f"          | {line}", flush=True)
            shown = len(text)
        assert state is not None
        if state.config_update == EndpointStateConfigUpdate.UPDATE_FAILED:
            raise DemoFailed(f"the endpoint could not be built; see {host} or the build log above")
        if state.ready == EndpointStateReady.READY:
            say("the endpoint is READY")
            return
        time.sleep(0.3)
    raise DemoFailed(f"the endpoint was not ready after {READY_SECONDS} s")


def query(host: str, token: str, rows: list[dict[str, float]], expected: list[int]) -> None:
    """Ask the endpoint and compare with what the model itself said."""
    from databricks.sdk import WorkspaceClient

    workspace = WorkspaceClient(host=host, token=token, auth_type="pat")
    began = time.perf_counter()
    answer = workspace.serving_endpoints.query(ENDPOINT, dataframe_records=rows)
    milliseconds = (time.perf_counter() - began) * 1000
    say(f"prediction {answer.predictions} for {len(rows)} wines, in {milliseconds:.0f} ms")
    if answer.predictions != expected:
        raise DemoFailed(f"the model itself says {expected}")
    say("which is what the model itself says")


def ask_language_models(host: str, token: str) -> None:
    """Chat with the model of the catalogue, and compare what sentences mean, with the OpenAI client."""
    from openai import OpenAI

    client = OpenAI(base_url=f"{host}/serving-endpoints", api_key=token)
    say(f"asking {CHAT}, which starts now: {QUESTION}")
    chunks = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=40, stream=True
    )
    said = ""
    print("          | ", end="")
    for chunk in chunks:
        text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        said += text
        print(text, end="", flush=True)
    print(flush=True)
    if "Paris" not in said:
        raise DemoFailed(f"{CHAT} does not know the capital of France")
    sentences = ["A man is eating food.", "Someone has a meal.", "Stocks fell sharply today."]
    vectors = [one.embedding for one in client.embeddings.create(model=EMBEDDINGS, input=sentences).data]
    close, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    say(f"{EMBEDDINGS}: likeness {close:.2f} of two paraphrases, {far:.2f} of two strangers")
    if close <= far:
        raise DemoFailed("paraphrases should be closer")


def curl_line(host: str, data_dir: Path, row: dict[str, float]) -> str:
    """The same query for a shell."""
    import json

    body = json.dumps({"dataframe_records": [row]})
    return (
        f"  set -a; . {shlex.quote(str(data_dir / 'admin.env'))}; set +a\n"
        f"  curl -s {host}/serving-endpoints/{ENDPOINT}/invocations \\\n"
        f'    -H "Authorization: Bearer $DATABRICKS_TOKEN" -H "Content-Type: application/json" \\\n'
        f"    -d '{body}'"
    )


def main() -> int:
    """The whole demonstration."""
    once = os.environ.get("ONCE", "") not in ("", "0")
    root = Path(__file__).resolve().parent.parent
    data_dir = Path(os.environ.get("MOORAGE_DATA_DIR") or root / "var" / "demo").absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        port = free_port(FIRST_PORT)
        if port != FIRST_PORT:
            say(f"port {FIRST_PORT} is taken, port {port} is used instead")
        say(f"starting a server with its data in {data_dir}")
        with running_server(data_dir, port) as server:
            host, token = connection(data_dir)
            version, rows, expected = log_and_register(host, token)
            create_endpoint(host, token, version)
            query(host, token, rows, expected)
            ask_language_models(host, token)
            print(f"\nThe prediction with curl:\n{curl_line(host, data_dir, rows[0])}\n", flush=True)
            if not once:
                say(f"the server runs at {host}; Ctrl-C stops it")
                server.wait()
    except DemoFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
