"""Run the command line from a checkout: `python cli.py run …`."""

from cytobench.cli import main

if __name__ == "__main__":
    main()
