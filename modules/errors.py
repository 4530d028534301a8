"""The one exception for what a person can mend: input, configuration, environment."""


class InputError(Exception):
    """A mistake in what the user gave, told in one line: what was wrong, where, what to do.

    Never a fault of the program: the command line prints the message alone, without a traceback, and
    leaves with exit code 2.
    """
