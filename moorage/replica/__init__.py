"""What runs inside a model's environment: the template that forks replicas, and the replica.

Everything here works on Python 3.9 and later with the standard library and whatever MLflow the model brought;
nothing from the rest of the package is imported, and the rest imports nothing from here but `frames`.
"""
