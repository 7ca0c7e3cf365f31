"""The commands: `python -m experiments.<name>`."""
