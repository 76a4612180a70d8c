-- Runs once, when the database's volume is empty.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
