"""The one exception that is the user's to mend."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file, line or field, what was found, what was expected and the way out. The command line prints
    it without a traceback and exits with 2.
    """
