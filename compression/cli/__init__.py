"""The command line, a file each command: a function of options gives what --json prints and what a person reads."""
