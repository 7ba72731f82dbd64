#!/bin/sh
# Runs once, in an empty database: MLflow's own role, and a database each for records and for sign-in.
set -eu
psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 --set password="$MLFLOW_PASSWORD" <<'SQL'
CREATE ROLE mlflow LOGIN PASSWORD :'password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
SQL
