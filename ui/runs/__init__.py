"""The pages Runs and Run: the table of jobs, one run with its verdict."""
