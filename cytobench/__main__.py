"""`python -m cytobench`: the same as the `cytobench` command."""

from cytobench.cli import main

if __name__ == "__main__":
    main()
