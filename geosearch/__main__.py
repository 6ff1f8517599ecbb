"""`python -m geosearch`, which is how `torchrun` starts the command."""

from geosearch.cli.app import main

main()
