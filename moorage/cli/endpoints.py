"""`moorage endpoints`: serving endpoints from the command line, through the public REST API alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from moorage.cli.completion import endpoint_names, served_names
from moorage.cli.configuration import BadConfiguration
from moorage.cli.connection import UPDATE_FAILED, DataDir, Host, Output, Token, connected
from moorage.cli.output import OutputFormat, write, write_error, write_json

if TYPE_CHECKING:
    from moorage.cli.client import ApiClient, Json
    from moorage.cli.waiting import Progress

app = typer.Typer(
    help="Create, query and look after serving endpoints",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_QUERY_SECONDS = 300.0

Name = Annotated[str, typer.Argument(help="Name of the endpoint", show_default=False, autocompletion=endpoint_names)]
NewName = Annotated[str, typer.Argument(help="Name of the endpoint", show_default=False)]
Model = Annotated[
    str | None, typer.Option(help="models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS")
]
EntityName = Annotated[str | None, typer.Option(help="Registered model, instead of --model")]
EntityVersion = Annotated[str | None, typer.Option(help="Its version, a number")]
ServedName = Annotated[
    str | None, typer.Option(help="Name of the served entity (default MODEL-VERSION)", autocompletion=served_names)
]
WorkloadSize = Annotated[str | None, typer.Option(help="Small, Medium or Large (default Small)")]
WorkloadType = Annotated[str | None, typer.Option(help="CPU, GPU_SMALL, ... (default CPU)")]
ScaleToZero = Annotated[
    bool | None, typer.Option("--scale-to-zero/--no-scale-to-zero", help="Stop replicas that have nothing to do")
]
MinConcurrency = Annotated[int | None, typer.Option(help="Requests at once, instead of a size; multiples of 4")]
MaxConcurrency = Annotated[int | None, typer.Option(help="Goes with --min-concurrency")]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="KEY=VALUE", help="Repeat for several; {{secrets/SCOPE/KEY}} is a secret"),
]
WholeBody = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-|{...}", help="The whole request body, instead of options")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return at once, not when the update has ended")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the update", min=0.0)]
ServedModel = Annotated[
    str | None,
    typer.Option(help="Served entity; may be left out when there is only one", autocompletion=served_names),
]
ConfigVersion = Annotated[int | None, typer.Option(help="Of the configuration (default the active one)", min=1)]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C")]


@app.command("list")
def list_endpoints(
    host: Host = None, token: Token = None, data_dir: DataDir = None, output: Output = OutputFormat.TEXT
) -> None:
    """List the endpoints that you may see"""
    with connected(host, token, data_dir) as client:
        from moorage.cli import endpoint_text
        from moorage.cli.client import ENDPOINTS

        answer = client.get(ENDPOINTS)
        if output is OutputFormat.JSON:
            write_json(answer)
            return
        write(endpoint_text.listing([(each, _traffic(client, each)) for each in answer.get("endpoints", [])]))


@app.command("get")
def get_endpoint(
    name: Name, host: Host = None, token: Token = None, data_dir: DataDir = None, output: Output = OutputFormat.TEXT
) -> None:
    """Show the state of an endpoint"""
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path

        _show(client, client.get(endpoint_path(name)), output)


@app.command("create")
def create_endpoint(
    name: NewName,
    model: Model = None,
    entity_name: EntityName = None,
    entity_version: EntityVersion = None,
    served_name: ServedName = None,
    workload_size: WorkloadSize = None,
    workload_type: WorkloadType = None,
    scale_to_zero: ScaleToZero = None,
    min_concurrency: MinConcurrency = None,
    max_concurrency: MaxConcurrency = None,
    env: Variables = None,
    description: Annotated[str | None, typer.Option(help="What the endpoint is for")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Repeat for several")] = None,
    body: WholeBody = None,
    no_wait: NoWait = False,
    timeout: Timeout = 1200.0,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Create an endpoint and wait until it is ready

    Exit status 3 when it does not become ready.
    """
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import ENDPOINTS
        from moorage.cli.endpoint_bodies import ServedEntityOptions, create_body, given_document
        from moorage.cli.waiting import Progress

        options = ServedEntityOptions(
            model=model,
            entity_name=entity_name,
            entity_version=entity_version,
            served_name=served_name,
            workload_size=workload_size,
            workload_type=workload_type,
            scale_to_zero=scale_to_zero,
            min_concurrency=min_concurrency,
            max_concurrency=max_concurrency,
            variables=tuple(env or ()),
        )
        if body is None:
            document = create_body(client, name, options, description, tag or ())
        else:
            if options.given or description is not None or tag:
                raise BadConfiguration("--json is the whole body: leave the other options out")
            document = given_document(body)
            if document.setdefault("name", name) != name:
                raise BadConfiguration(f"--json has the name '{document['name']}', not '{name}'")
        accepted = client.post(ENDPOINTS, document)
        _finish(client, accepted, Progress(client, name, write_error), no_wait, timeout, output)


@app.command("update")
def update_endpoint(
    name: Name,
    model: Model = None,
    entity_name: EntityName = None,
    entity_version: EntityVersion = None,
    served_name: ServedName = None,
    workload_size: WorkloadSize = None,
    workload_type: WorkloadType = None,
    scale_to_zero: ScaleToZero = None,
    min_concurrency: MinConcurrency = None,
    max_concurrency: MaxConcurrency = None,
    env: Variables = None,
    traffic: Annotated[str | None, typer.Option(metavar="a=90,b=10", help="Shares of the served entities")] = None,
    body: WholeBody = None,
    no_wait: NoWait = False,
    timeout: Timeout = 1200.0,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Change what an endpoint serves, and wait

    What is not given stays as it is. What has been served goes on being served until the new is ready, and when it
    fails: exit status 3.
    """
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path
        from moorage.cli.endpoint_bodies import ServedEntityOptions, given_document, update_body
        from moorage.cli.waiting import Progress

        options = ServedEntityOptions(
            model=model,
            entity_name=entity_name,
            entity_version=entity_version,
            served_name=served_name,
            workload_size=workload_size,
            workload_type=workload_type,
            scale_to_zero=scale_to_zero,
            min_concurrency=min_concurrency,
            max_concurrency=max_concurrency,
            variables=tuple(env or ()),
        )
        if body is None:
            document = update_body(client, client.get(endpoint_path(name)), options, traffic)
        else:
            if options.given or traffic is not None:
                raise BadConfiguration("--json is the whole body: leave the other options out")
            document = given_document(body)
        progress = Progress(client, name, write_error)
        progress.skip_past()
        accepted = client.put(endpoint_path(name, "config"), document)
        _finish(client, accepted, progress, no_wait, timeout, output)


@app.command("delete")
def delete_endpoint(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Delete an endpoint"""
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path

        path = endpoint_path(name)
        if not yes:
            if not sys.stdin.isatty():
                raise BadConfiguration("nobody can be asked here: give --yes to delete the endpoint")
            typer.confirm(f"Delete endpoint '{name}'?", abort=True, err=True)
        answer = client.delete(path)
        if output is OutputFormat.JSON:
            write_json(answer)
        else:
            write(f"Endpoint {name} is deleted")


@app.command("start")
def start_endpoint(
    name: Name,
    no_wait: NoWait = False,
    timeout: Timeout = 1200.0,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Start a stopped endpoint and wait until it is ready"""
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path
        from moorage.cli.waiting import Progress

        progress = Progress(client, name, write_error)
        progress.skip_past()
        accepted = client.post(endpoint_path(name, "config:start"))
        _finish(client, accepted, progress, no_wait, timeout, output)


@app.command("stop")
def stop_endpoint(
    name: Name, host: Host = None, token: Token = None, data_dir: DataDir = None, output: Output = OutputFormat.TEXT
) -> None:
    """Stop an endpoint: its replicas end, its configuration stays"""
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path

        answer = client.post(endpoint_path(name, "config:stop"))
        if output is OutputFormat.JSON:
            write_json(answer)
        else:
            write(f"Endpoint {name} is stopped; start it with: moorage endpoints start {name}")


@app.command("query")
def query_endpoint(
    name: Name,
    body: Annotated[str | None, typer.Option("--json", metavar="FILE|-|{...}", help="What to send")] = None,
    example: Annotated[bool, typer.Option("--example", help="Send the input example of the model")] = False,
    served_model: Annotated[
        str | None,
        typer.Option(help="Served entity to ask, whatever the traffic", autocompletion=served_names),
    ] = None,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Send a request to an endpoint and print the answer"""
    with connected(host, token, data_dir) as client:
        import json

        from moorage.cli.client import quoted
        from moorage.cli.endpoint_bodies import given_text
        from moorage.cli.input_examples import example_body

        if (body is None) is not example:
            raise BadConfiguration("give either --json or --example")
        served = "" if served_model is None else f"/served-models/{quoted(served_model)}"
        path = f"/serving-endpoints/{quoted(name)}{served}/invocations"
        if body is None:
            text = json.dumps(example_body(client, name, served_model)).encode()
        else:
            text = given_text(body)
        write_json(client.post(path, text, seconds=_QUERY_SECONDS))


@app.command("logs")
def service_logs(
    name: Name,
    served_model: ServedModel = None,
    config_version: ConfigVersion = None,
    replica: Annotated[str | None, typer.Option(help="Only the lines of the replica with this tag or id")] = None,
    follow: Follow = False,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Print what the replicas of a served entity wrote"""
    with connected(host, token, data_dir) as client:
        _log(client, name, served_model, "logs", config_version, replica, follow, output)


@app.command("build-logs")
def build_logs(
    name: Name,
    served_model: ServedModel = None,
    config_version: ConfigVersion = None,
    follow: Follow = False,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Print how the environment of a served entity was built"""
    with connected(host, token, data_dir) as client:
        _log(client, name, served_model, "build-logs", config_version, None, follow, output)


@app.command("events")
def events(
    name: Name,
    served_model: ServedModel = None,
    limit: Annotated[int, typer.Option(help="The newest so many", min=1, max=1000)] = 50,
    follow: Follow = False,
    host: Host = None,
    token: Token = None,
    data_dir: DataDir = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Print what happened to an endpoint, the newest last"""
    with connected(host, token, data_dir) as client:
        from moorage.cli.client import endpoint_path
        from moorage.cli.endpoint_logs import follow_events

        filters = {} if served_model is None else {"served_entity_name": served_model}
        answer = client.get(endpoint_path(name, "events"), {"page_size": limit, **filters})
        past = answer.get("events", [])
        if output is OutputFormat.JSON and not follow:
            write_json(answer)
            return
        for event in reversed(past):
            _tell(event, output)
        if follow:
            for event in follow_events(client, name, filters, past):
                _tell(event, output)


def _traffic(client: ApiClient, endpoint: Json) -> str:
    """The summary does not say how traffic is split; with one served entity there is nothing to split."""
    from moorage.cli import endpoint_text
    from moorage.cli.client import ApiRefused, endpoint_path

    entities = endpoint.get("config", {}).get("served_entities", [])
    if len(entities) < 2:
        return "100%" if entities else ""
    try:
        detail = client.get(endpoint_path(str(endpoint.get("name"))))
    except ApiRefused:
        # Deleted since the list was made.
        return ""
    return endpoint_text.traffic(detail.get("config", {}))


def _show(client: ApiClient, detail: Json, output: OutputFormat) -> None:
    from moorage.cli import endpoint_text

    if output is OutputFormat.JSON:
        write_json(detail)
    else:
        write(endpoint_text.summary(detail, client.host))


def _finish(
    client: ApiClient, accepted: Json, progress: Progress, no_wait: bool, timeout: float, output: OutputFormat
) -> None:
    """Wait for the update that the API has accepted, unless told not to, and show the endpoint."""
    from moorage.cli.waiting import UpdateFailed, wait_for_update

    if no_wait:
        _show(client, accepted, output)
        return
    try:
        _show(client, wait_for_update(client, accepted, timeout, progress), output)
    except UpdateFailed as error:
        if output is OutputFormat.JSON:
            write_json(error.detail)
        _update_failed(f"{accepted['name']}: {error}")
    except KeyboardInterrupt:
        write_error(f"no longer waiting; the update goes on: moorage endpoints get {accepted['name']}")
        raise


def _update_failed(message: str) -> NoReturn:
    write_error(f"error: {message}")
    raise typer.Exit(UPDATE_FAILED)


def _log(
    client: ApiClient,
    name: str,
    served: str | None,
    kind: str,
    version: int | None,
    replica: str | None,
    follow: bool,
    output: OutputFormat,
) -> None:
    from moorage.cli.endpoint_logs import follow_log, lines_of_replica, log_text, served_model

    if output is OutputFormat.JSON and (follow or replica is not None):
        raise BadConfiguration("--output json is the answer of the API: it does not go with --follow and --replica")
    served = served_model(client, name, served, version)
    if follow:
        for line in follow_log(client, name, served, kind, version, replica):
            write(line)
        return
    answer = log_text(client, name, served, kind, version)
    if output is OutputFormat.JSON:
        write_json(answer)
        return
    text = str(answer.get("logs", "")).removesuffix("\n")
    # Not `splitlines`: a progress bar's carriage returns do not end a line.
    lines = text.split("\n") if text else []
    if replica is not None:
        lines = lines_of_replica(client, name, served, version, replica, lines)
    for line in lines:
        write(line)


def _tell(event: Json, output: OutputFormat) -> None:
    """As text, or as JSON on one line: events that go on have no end to close a document at."""
    import json

    from moorage.cli import endpoint_text

    write(json.dumps(event) if output is OutputFormat.JSON else endpoint_text.event_line(event))
