"""`moorage serve`: starts the control plane, the gateway workers and MLflow, restarts what dies, stops in order."""
