"""Example texts by name: where each comes from, and fetching it safely.

Only fixed https addresses, a bound on the size, a checksum where the text never changes, and an atomic rename at the
end. Kaggle's data sets come through `kagglehub`, an optional extra.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from unrolled.errors import UserError

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Example:
    """A text that can be fetched.

    Attributes:
        name: what the user types.
        about: one line.
        file: name of the file that it becomes.
        source: how to train on it, once fetched, relative to the file's folder.
        url: where it is; a page for people where `kaggle` is set.
        kaggle: the data set's handle there.
        sha256: of the file, where it never changes.
        bytes: its size, where it never changes.
    """

    name: str
    about: str
    file: str
    source: str
    url: str
    kaggle: str | None = None
    sha256: str | None = None
    bytes: int | None = None


EXAMPLES = (
    Example(
        "children-stories",
        "Children Stories Text Corpus, about 20 million characters of classic tales (Kaggle)",
        "cleaned_merged_fairy_tales_without_eos.txt",
        "cleaned_merged_fairy_tales_without_eos.txt",
        "https://www.kaggle.com/datasets/edenbd/children-stories-text-corpus",
        kaggle="edenbd/children-stories-text-corpus",
    ),
    Example(
        "lord-of-the-rings",
        "lord-of-the-rings-data, 2,390 lines of film dialogue with their speakers (Kaggle)",
        "lotr_scripts.csv",
        "lotr_scripts.csv:dialog",
        "https://www.kaggle.com/datasets/paultimothymooney/lord-of-the-rings-data",
        kaggle="paultimothymooney/lord-of-the-rings-data",
    ),
    Example(
        "tiny-shakespeare",
        "40,000 lines of Shakespeare, 1.1 million characters, the text of char-rnn and nanoGPT",
        "tiny-shakespeare.txt",
        "tiny-shakespeare.txt",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
    ),
)


def fetch(example: Example, folder: Path) -> Path:
    """Fetch a text into a folder and return its path; one that is there already is left as it is.

    Raises:
        UserError: no network, a changed or too large file, `kagglehub` missing, no space; with the steps to do it
            by hand.
    """
    path = folder / example.file
    if path.exists():
        if example.sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != example.sha256:
            raise UserError(
                f"{path} is another text than {example.name}; move it away, or choose another folder with --out."
            )
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        try:
            (_from_kaggle if example.kaggle else _from_url)(example, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} could not be written or fetched ({error}). {by_hand(example, folder)}") from error
    return path


def by_hand(example: Example, folder: Path) -> str:
    """Return the manual steps."""
    what = f"download {example.file} from there" if example.kaggle else f"save it as {example.file}"
    return f"By hand: open {example.url} in a browser, {what} and put it into {folder}."


def _from_url(example: Example, target: Path) -> None:
    try:
        # An https address from the list above.
        with urllib.request.urlopen(example.url, timeout=TIMEOUT_SECONDS) as response:  # nosec B310
            content = response.read((example.bytes or 0) + 1)
    except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError
        reason = getattr(error, "reason", error)
        raise UserError(f"{example.name} could not be fetched ({reason}). {by_hand(example, target.parent)}") from None
    if len(content) != example.bytes or hashlib.sha256(content).hexdigest() != example.sha256:
        raise UserError(f"{example.url} no longer holds the text that it held; nothing was kept.")
    target.write_bytes(content)


def _from_kaggle(example: Example, target: Path) -> None:
    try:
        import kagglehub
    except ImportError:
        raise UserError(
            f"{example.name} is on Kaggle and needs the package kagglehub: pip install 'unrolled[data]'. "
            f"{by_hand(example, target.parent)}"
        ) from None
    try:
        downloaded = Path(kagglehub.dataset_download(example.kaggle))
    except Exception as error:  # kagglehub raises many kinds, its HTTP library's among them
        raise UserError(
            f"{example.name} could not be fetched from Kaggle ({type(error).__name__}). "
            f"{by_hand(example, target.parent)}"
        ) from None
    found = next(iter(sorted(downloaded.rglob(example.file))), None)
    if found is None:
        names = ", ".join(sorted(entry.name for entry in downloaded.rglob("*") if entry.is_file())[:5])
        raise UserError(f"The data set {example.kaggle} holds no {example.file} any more; it holds {names}.")
    shutil.copyfile(found, target)
