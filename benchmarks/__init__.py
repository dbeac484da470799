"""Every speed claim as a script: us and a peer alternately in one run, and the ratio."""
