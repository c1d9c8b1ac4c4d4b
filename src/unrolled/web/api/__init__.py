"""The JSON API: schemas of requests and answers, and the routes."""
