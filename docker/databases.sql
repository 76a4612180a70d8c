-- Runs once, when the volume of the database is empty.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
