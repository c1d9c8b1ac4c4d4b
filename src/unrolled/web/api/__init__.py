"""The JSON interface: what a request may hold, what an answer holds, and the routes between them."""
