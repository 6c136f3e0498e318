"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """Wrong input from a user: its message is one line that says what was wrong, where, what was
    expected and what to do. Command lines print it and exit with status 2, without a traceback.
    """
