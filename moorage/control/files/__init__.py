"""The Files API over MLflow's artifact store, and signed addresses of files."""
