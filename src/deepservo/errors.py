"""The one exception that bad input raises."""


class InputError(ValueError):
    """The caller's input cannot be used: the message says what, where and what to do.

    The command line prints the message alone and exits with code 2.
    """
