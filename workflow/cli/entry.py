"""Entry for ``python -m``, used by the demo to start its processes with this very interpreter."""

from workflow.cli.main import main

if __name__ == "__main__":
    main()
