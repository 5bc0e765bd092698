// The code of the three steps for a workspace in which nothing is served yet.

export const MODEL = "main.default.iris";
export const ENDPOINT = "iris";

/** What the clients read: where the server is, and a token. */
export const environment = (host: string) => `export DATABRICKS_HOST=${host}
export DATABRICKS_TOKEN=dapi...
export MLFLOW_TRACKING_URI=$DATABRICKS_HOST
export MLFLOW_TRACKING_TOKEN=$DATABRICKS_TOKEN`;

/** `host` where the environment does not say which server it is. */
export const logModel = (host?: string) => `import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
${host ? `\nmlflow.set_tracking_uri("${host}")\n` : ""}
rows, species = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(rows, species)
mlflow.sklearn.log_model(
    model,
    name="model",
    input_example=rows.head(2),
    registered_model_name="${MODEL}",
)`;

export const createPython = `from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import EndpointCoreConfigInput, ServedEntityInput

entity = ServedEntityInput(
    entity_name="${MODEL}",
    entity_version="1",
    workload_size="Small",
    scale_to_zero_enabled=False,
)
WorkspaceClient().serving_endpoints.create_and_wait(
    "${ENDPOINT}",
    config=EndpointCoreConfigInput(name="${ENDPOINT}", served_entities=[entity]),
)`;

export const createCurl = `curl "$DATABRICKS_HOST/api/2.0/serving-endpoints" \\
  -H "Authorization: Bearer $DATABRICKS_TOKEN" -H "Content-Type: application/json" \\
  -d '{
    "name": "${ENDPOINT}",
    "config": {
      "served_entities": [
        {
          "entity_name": "${MODEL}",
          "entity_version": "1",
          "workload_size": "Small",
          "scale_to_zero_enabled": false
        }
      ]
    }
  }'`;

export const queryPython = `from databricks.sdk import WorkspaceClient

row = {
    "sepal length (cm)": 5.1,
    "sepal width (cm)": 3.5,
    "petal length (cm)": 1.4,
    "petal width (cm)": 0.2,
}
print(WorkspaceClient().serving_endpoints.query("${ENDPOINT}", dataframe_records=[row]).predictions)`;

export const queryCurl = `curl "$DATABRICKS_HOST/serving-endpoints/${ENDPOINT}/invocations" \\
  -H "Authorization: Bearer $DATABRICKS_TOKEN" -H "Content-Type: application/json" \\
  -d '{
    "dataframe_split": {
      "columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"],
      "data": [[5.1, 3.5, 1.4, 0.2]]
    }
  }'`;
