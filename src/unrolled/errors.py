"""The exception for mistakes that a user can fix.

Its message states the value, the rule it breaks and what to do, in plain words. It is turned into output only at the
edge: the command line prints it and exits with status 2, the web application responds with status 400. Misuse of the
library by a caller raises `ValueError` instead.
"""


class UserError(Exception):
    """A mistake that the user can fix; the message is one sentence, or several, and says what to do."""
