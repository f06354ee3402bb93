"""The DAG: what each stage reads and makes, the order of the stages, and Prefect around it."""
