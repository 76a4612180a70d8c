"""One cached Prefect task per stage: thin, over the library; what it makes lies in a content-addressed store."""
