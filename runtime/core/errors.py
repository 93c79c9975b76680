"""What can go wrong, each with a message of one line that names the thing and says what to do."""


class ShiftAddError(Exception):
    """Base of every error that a user can cause; a command prints it and leaves with code 2."""

    def __str__(self) -> str:
        # Messages quote what files hold, a tensor's name for instance, which may contain line
        # breaks.
        return one_line(super().__str__())


class ModelError(ShiftAddError):
    """A model file that cannot be used: missing, truncated, not ours, too new, or broken."""


class DataError(ShiftAddError, ValueError):
    """An image or a data set that cannot be used."""


class OutputError(ShiftAddError):
    """Results that cannot be written: a full disk, for one."""


def one_line(text: object) -> str:
    """`text` with every run of white space, line breaks included, made one space."""
    return " ".join(str(text).split())


def reason(error: BaseException) -> str:
    """What an exception says, without the path that an OSError repeats; the name of its class if it
    says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(error) or type(error).__name__
