"""How a target stops."""


class RefusedError(Exception):
    """Something is missing or cannot be used. The text is one line; the exit code is 2."""


class FailedError(Exception):
    """A program has failed, and has said why; its exit code is ours."""

    def __init__(self, code: int) -> None:
        super().__init__("exit code {}".format(code))
        self.code = code
