"""A file that is replaced as a whole: whoever reads finds the old one or the new one.

    with whole_file(path) as temporary:
        ...                              write to `temporary`, which lies beside it

The new file takes the name in one step when it is complete. If writing fails, the old one is as it
was and nothing is left beside it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["whole_file", "write_text"]


@contextlib.contextmanager
def whole_file(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Give what is to be written a name of its own, and then that of the file.

    Args:
        path: of the file. If it is there, its permissions are kept.
        sync: whether the new contents have to be on disk before they take the name, so that a
            power cut does not leave an empty file. A writer that has done so itself needs it not.

    Yields:
        A path in the same folder, hidden, of this process alone, and without the suffix of the
        file, so that nobody who looks for such files comes upon it.

    Raises:
        OSError: it cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # there is none, or a file system without permissions
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, sync: bool = False) -> None:
    """Give a file this text, in UTF-8; arguments as in `whole_file`."""
    with whole_file(path, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8")
