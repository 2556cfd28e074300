"""`python -m heimdall`: the same as `heimdall`."""

from heimdall.cli import main

if __name__ == "__main__":
    main()
