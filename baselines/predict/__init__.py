"""Predict the response of a user's own cells with heads trained on a release."""
