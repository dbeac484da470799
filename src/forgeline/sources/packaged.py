"""Data files that an installed Python package carries, pinned by content hash in a small JSON descriptor."""

from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from forgeline.core.errors import DataError, FingerprintError
from forgeline.core.storage import sha256_path


class PackagedFile(BaseModel):
    """One file: its path inside the package folder and the hex SHA-256 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: str
    sha256: str


class Descriptor(BaseModel):
    """What a `.json` descriptor says: which package and release, its files by role, licence and what to cite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    package: str
    version: str
    release: str
    license: str
    citation: list[str]
    files: dict[str, PackagedFile]


def read_descriptor(path: Path) -> Descriptor:
    """The descriptor in the file at `path`.

    Raises:
        DataError: The file is missing or is not a descriptor.
    """
    try:
        return Descriptor.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: name src/forgeline/sources/hpo.json, which ships with it") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(key) for key in problem["loc"]) or "content"
        raise DataError(f"{path}: {where}: {problem['msg']}: restore the file from git") from None


def locate(descriptor_path: Path, role: str) -> Path:
    """Where the file of that role is installed, its content verified. The package itself is not imported.

    Args:
        descriptor_path: The JSON descriptor.
        role: A key of its `files`, `ontology` for instance.

    Raises:
        DataError: The descriptor does not name the role, the package is not installed, or the file is missing in it.
        FingerprintError: The installed file has another SHA-256 than the descriptor pins (both are named).
    """
    descriptor = read_descriptor(descriptor_path)
    install = f"install {descriptor.package}=={descriptor.version} (`make setup`)"
    if role not in descriptor.files:
        raise DataError(f"{descriptor_path} names no '{role}' file: restore the file from git")
    spec = find_spec(descriptor.package)
    if spec is None or spec.origin is None:
        raise DataError(f"{descriptor_path} needs the package {descriptor.package}: {install}")
    file = Path(spec.origin).parent / descriptor.files[role].path
    if not file.is_file():
        raise DataError(f"{file} is missing from the installed {descriptor.package}: {install}")
    found, pinned = sha256_path(file), descriptor.files[role].sha256
    if found != pinned:
        raise FingerprintError(f"{file} has sha256 {found} but {descriptor_path} pins {pinned}: {install}")
    return file
