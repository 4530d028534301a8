"""What can go wrong between a client and a model server, as types with one clear line each."""


class ServingError(Exception):
    """Base of all: one line that says what happened, where, and what to do.

    `code` is the name of the gRPC status behind it, such as `INVALID_ARGUMENT`, or None. `about_images` says
    that a batch was refused for what is in it, so that a part of it may be answered.
    """

    def __init__(self, message: str, code: str | None = None, about_images: bool = False):
        super().__init__(message)
        self.code = code
        self.about_images = about_images


class ServerUnavailable(ServingError):  # noqa: N818 - named for what a caller sees
    """Nothing answers at the address, or the server is starting, stopping or overloaded."""


class ModelNotFound(ServingError):  # noqa: N818 - named for what a caller sees
    """The server answers but does not serve this model, version or label."""


class DeadlineExceeded(ServingError):  # noqa: N818 - named for what a caller sees
    """The answer did not come within the time-out."""


class PermissionDenied(ServingError):  # noqa: N818 - named for what a caller sees
    """The server refused the token or the certificate."""


class BadImage(ServingError):  # noqa: N818 - named for what a caller sees
    """An image that cannot be classified; `source` names it, `error` is this very error.

    `Classifier.classify_many` yields it in the place of that image's prediction, so that one bad file
    does not cost the others.
    """

    def __init__(self, source: str, reason: str):
        super().__init__(f"{source}: {reason}", "INVALID_ARGUMENT", about_images=True)
        self.source = source
        self.reason = reason

    @property
    def error(self) -> "BadImage":
        return self


class StartError(ServingError):
    """The server cannot start as asked: port in use, no model folder, a bad flag or configuration file."""
