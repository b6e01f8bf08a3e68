"""The data of the app that answers the current request, so that pages need no global of their own."""

from flask import Flask, current_app

from .data import Data

_KEY = "SUPERSAM_DATA"


def bind(server: Flask, data: Data) -> None:
    """Give an app its data."""
    server.config[_KEY] = data


def current_data() -> Data:
    """Return the data of the app that answers this request."""
    data: Data = current_app.config[_KEY]
    return data
