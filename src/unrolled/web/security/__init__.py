"""Which requests are answered, and the rules for every answer."""
