// The request of the editor as a program in other languages.
import { isRecord, layOut, onOneLine, PYTHON_WORDS, readJson } from "./jsonText";

export interface CodeRequest {
  /** Of this server, as the caller's machine reaches it. */
  origin: string;
  /** The path of the URL. */
  path: string;
  /** Valid JSON. */
  body: string;
  /** The endpoint's name where the URL is that of a serving endpoint. */
  endpoint?: string;
  /** The request goes to one served entity, which clients other than those of HTTP cannot name. */
  toEntity?: boolean;
  task?: string | null;
}

interface CodeSample {
  label: string;
  code: string;
}

const TABLE_FORMS = ["dataframe_records", "dataframe_split"];

export function codeSamples(request: CodeRequest): CodeSample[] {
  const named = request.endpoint !== undefined && !request.toEntity;
  const samples = [
    { label: "curl", code: curl(request) },
    ...(request.endpoint === undefined ? [] : [{ label: "Databricks SDK", code: databricksSdk(request) }]),
    ...(named && request.task ? [{ label: "OpenAI SDK", code: openAi(request) }] : []),
    ...(named ? [{ label: "MLflow", code: mlflow(request) }] : []),
    { label: "requests", code: pythonRequests(request) },
    ...(request.task ? [] : [{ label: "Power Query", code: powerQuery(request) }]),
    { label: "JavaScript", code: javaScript(request) },
  ];
  return samples;
}

const python = (json: string, indent = "") => layOut(json, PYTHON_WORDS, indent);

function curl({ origin, path, body }: CodeRequest): string {
  return `curl -X POST '${origin}${path}' \\
  -H "Authorization: Bearer $DATABRICKS_TOKEN" \\
  -H 'Content-Type: application/json' \\
  -d '${layOut(body).replaceAll("'", "'\\''")}'
`;
}

function databricksSdk({ origin, path, body, endpoint, toEntity }: CodeRequest): string {
  const head = `import os

from databricks.sdk import WorkspaceClient

w = WorkspaceClient(host="${origin}", token=os.environ["DATABRICKS_TOKEN"])
`;
  const given = readJson(body).value;
  const names = isRecord(given) ? Object.keys(given) : [];
  if (!toEntity && names.length === 1 && names[0] === "dataframe_records") {
    const rows = python(JSON.stringify((given as { dataframe_records: unknown }).dataframe_records));
    return `${head}
answer = w.serving_endpoints.query(name="${endpoint}", dataframe_records=${rows})
print(answer.predictions)
`;
  }
  return `${head}
body = ${python(body)}
print(w.api_client.do("POST", "${path}", body=body))
`;
}

const OPENAI_CALLS: Record<string, string> = {
  "llm/v1/chat": "chat.completions.create",
  "llm/v1/completions": "completions.create",
  "llm/v1/embeddings": "embeddings.create",
};

function openAi({ origin, body, endpoint, task }: CodeRequest): string {
  return `import os

from openai import OpenAI

client = OpenAI(base_url="${origin}/serving-endpoints", api_key=os.environ["DATABRICKS_TOKEN"])

body = ${python(body)}
print(client.${OPENAI_CALLS[task ?? ""] ?? "chat.completions.create"}(model="${endpoint}", **body))
`;
}

function mlflow({ origin, body, endpoint }: CodeRequest): string {
  return `# DATABRICKS_HOST=${origin}, and DATABRICKS_TOKEN, in the environment
from mlflow.deployments import get_deploy_client

client = get_deploy_client("databricks")

body = ${python(body)}
print(client.predict(endpoint="${endpoint}", inputs=body))
`;
}

function pythonRequests({ origin, path, body }: CodeRequest): string {
  return `import os

import requests

url = "${origin}${path}"
headers = {"Authorization": f"Bearer {os.environ['DATABRICKS_TOKEN']}"}

body = ${python(body)}
answer = requests.post(url, headers=headers, json=body)
answer.raise_for_status()
print(answer.json())
`;
}

function javaScript({ origin, path, body }: CodeRequest): string {
  return `const response = await fetch("${origin}${path}", {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.DATABRICKS_TOKEN}\`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify(${layOut(body, undefined, "  ")}),
});
if (!response.ok) throw new Error(await response.text());
console.log(await response.json());
`;
}

const mText = (text: string) => `"${text.replaceAll("#(", "#(#)(").replaceAll('"', '""')}"`;

/** A function of Power Query: of a table where the model takes one, else of the body alone. */
function powerQuery({ origin, path, body }: CodeRequest): string {
  const given = readJson(body).value;
  const names = isRecord(given) ? Object.keys(given) : [];
  const head = `    token = "DATABRICKS_TOKEN",
    uri = ${mText(origin + path)},`;
  const headers = `Headers = [#"Content-Type" = "application/json", Authorization = "Bearer " & token],`;
  if (!names.some((name) => TABLE_FORMS.includes(name))) {
    return `let
${head}
    answer = Json.Document(
        Web.Contents(
            uri,
            [
                ${headers}
                Content = Text.ToBinary(${mText(onOneLine(body))})
            ]
        )
    )
in
    answer
`;
  }
  const params = isRecord(given) && isRecord(given.params) ? `, params = Json.Document(${mText(JSON.stringify(given.params))})` : "";
  return `(dataset as table) as table =>
let
${head}
    predict = (rows as table) as list =>
        Json.Document(
            Web.Contents(
                uri,
                [
                    ${headers}
                    Content = Json.FromValue([dataframe_records = rows${params}])
                ]
            )
        )[predictions],
    predictions = List.Combine(List.Transform(Table.Split(dataset, 256), predict))
in
    Table.FromColumns(
        Table.ToColumns(dataset) & {predictions},
        Table.ColumnNames(dataset) & {"Prediction"}
    )
`;
}
