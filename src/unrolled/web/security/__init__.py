"""Which requests are answered, and the headers and errors of all answers."""
