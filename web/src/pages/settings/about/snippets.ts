// What a client needs to speak with this server, ready to be copied.

interface Snippet {
  label: string;
  code: string;
}

const token = "YOUR_TOKEN";
const endpoint = "YOUR_ENDPOINT";

export function snippets(host: string): Snippet[] {
  return [
    {
      label: "Shell",
      code: `export DATABRICKS_HOST=${host}
export DATABRICKS_TOKEN=${token}
export MLFLOW_TRACKING_URI=${host}
export MLFLOW_TRACKING_TOKEN=${token}`,
    },
    {
      label: "databricks-sdk",
      code: `from databricks.sdk import WorkspaceClient

workspace = WorkspaceClient(host="${host}", token="${token}")
for endpoint in workspace.serving_endpoints.list():
    print(endpoint.name, endpoint.state.ready)`,
    },
    {
      label: "MLflow",
      code: `import os

import mlflow
from mlflow.deployments import get_deploy_client

os.environ["DATABRICKS_HOST"] = "${host}"
os.environ["DATABRICKS_TOKEN"] = "${token}"
os.environ["MLFLOW_TRACKING_TOKEN"] = "${token}"

mlflow.set_tracking_uri("${host}")
client = get_deploy_client("databricks")
client.predict("${endpoint}", inputs={"dataframe_records": [{"x": 1.0}]})`,
    },
    {
      label: "OpenAI",
      code: `from openai import OpenAI

client = OpenAI(base_url="${host}/serving-endpoints", api_key="${token}")
answer = client.chat.completions.create(
    model="${endpoint}", messages=[{"role": "user", "content": "Hello"}]
)
print(answer.choices[0].message.content)`,
    },
    {
      label: "curl",
      code: `curl -s "${host}/api/2.0/serving-endpoints" \\
  -H "Authorization: Bearer ${token}"`,
    },
  ];
}
