"""Tasks, a file each; and the words in which numbers are told: units, verdicts, recommendations."""
