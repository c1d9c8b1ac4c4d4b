"""The one exception for what a user can fix.

It holds the value, the rule it broke and the way out, in plain words, and becomes text only at the edge: the command
line prints it and exits with status 2, the web application answers with a status of 400. A caller's mistake in the
library is a `ValueError` instead.
"""


class UserError(Exception):
    """Something that the user can put right; its text is one plain sentence (or a list of them) with the way out."""
