"""A failed call as the server's inner rooms raise it: one canonical code and TensorFlow Serving's wording."""

from typing import NoReturn

from grpc import StatusCode

__all__ = ["StatusCode", "StatusError", "fail"]

_BY_NUMBER = {code.value[0]: code for code in StatusCode}


class StatusError(Exception):
    """Ends a call with this code and message, over gRPC as over REST."""

    def __init__(self, code: StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def number(self) -> int:
        return self.code.value[0]


def fail(code: StatusCode, message: str) -> NoReturn:
    raise StatusError(code, message)


def code_of(number: int) -> StatusCode:
    """The code of a canonical number; UNKNOWN for a number that is none."""
    return _BY_NUMBER.get(number, StatusCode.UNKNOWN)
