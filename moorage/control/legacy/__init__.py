"""Serverless Real-Time Inference: a registered model's versions served by their stage, on an ordinary endpoint."""
