"""The entry point of the console scripts."""


def main() -> None:
    """Run `bench` or `cambench`."""
    from bench.cli.app import app

    app()
