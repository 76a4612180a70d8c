"""What several flows share: checks, output folders, pages in Prefect, matrices and the printed summary."""
