"""What stands on the pages: commands, settings, and blocks of Python, YAML and the like."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
SCRIPTS = tuple(sorted(path.stem for path in ROOT.glob("scripts/*.py")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FIRST = re.compile(
    r"(\.venv/bin/)?(python3?|pip3?|pytest|ruff|pyright|tensorboard)|vmax-[a-z-]+|bash|source|apt-get|nvidia-smi"
)
"""First words of a command."""
SETTING = re.compile(r"[a-z_]+(/[a-z_]+)?(\.[a-z_0-9]+)*=\S+")
PLACEHOLDER = re.compile(r"…|\b[A-Z]{2,}\b|=(X|A|B|N|M)\b|\bX\b|[=,][A-Z],[A-Z]\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language ("" where none is named) and its text."""

    page: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command as it is typed. `program`: the script's name, or the first word of any other program."""

    page: str
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        first, *rest = self.words
        if re.fullmatch(r"vmax-[a-z-]+", first):
            return first.removeprefix("vmax-").replace("-", "_")
        if Path(first).name in ("python", "python3") and rest:
            script = re.fullmatch(r"(?:.*/)?scripts/(\w+)\.py", rest[0])
            return script[1] if script else rest[1] if rest[0] == "-m" else rest[0]
        return Path(first).name

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the program."""
        return self.words[2 if Path(self.words[0]).name in ("python", "python3") else 1 :]

    @property
    def is_ours(self) -> bool:
        """Whether it is one of the scripts."""
        return self.program in SCRIPTS

    def __str__(self) -> str:
        return f"{self.program} {' '.join(self.arguments)}".strip()


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def blocks() -> tuple[Block, ...]:
    """All fenced blocks."""
    return tuple(Block(page.name, *found) for page in PAGES for found in FENCE.findall(text_of(page)))


def block(page: str, language: str, containing: str) -> str:
    """The text of the one block of a page that contains these words."""
    (found,) = (one.text for one in blocks() if (one.page, one.language) == (page, language) and containing in one.text)
    return found


@cache
def spans() -> tuple[tuple[str, str], ...]:
    """All pieces of code within sentences and tables, with their page."""
    found = []
    for page in PAGES:
        prose = FENCE.sub("", text_of(page))
        found += [(page.name, " ".join(span.replace("\\|", "|").split())) for span in SPAN.findall(prose)]
    return tuple(found)


def typed(page: str, line: str) -> list[Command]:
    """The commands of one line of a shell: comments left out, `a && b` is two."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in a sentence
        return []
    found, rest = [], list(words)
    while rest:
        end = rest.index("&&") if "&&" in rest else len(rest)
        if rest[:end]:
            found.append(Command(page, tuple(rest[:end])))
        rest = rest[end + 1 :]
    return found


@cache
def commands() -> tuple[Command, ...]:
    """All commands of the pages: in blocks of `sh`, in indented lines, and within sentences; each once."""
    found: list[Command] = []
    for page in PAGES:
        for language, text in FENCE.findall(text_of(page)):
            if language == "sh":
                for line in text.replace("\\\n", " ").splitlines():
                    found += typed(page.name, line)
        for line in re.findall(r"^ {4}(\S.*)$", FENCE.sub("", text_of(page)), re.M):
            if FIRST.match(line):
                found += typed(page.name, line)
    for page, span in spans():
        first, _, rest = span.partition(" ")
        if FIRST.fullmatch(first) and (rest or first == "nvidia-smi" or first.startswith("vmax-")):
            found += typed(page, span)
    return tuple({one.words: one for one in found}.values())


@cache
def settings() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """All pieces of code that are settings and nothing else, such as `env=bess seed=1`, with their page; each once."""
    found = {}
    for page, span in spans():
        if PLACEHOLDER.search(span):
            continue
        try:
            words = tuple(shlex.split(span))
        except ValueError:
            continue
        if words and all(SETTING.fullmatch(word) for word in words):
            found.setdefault(words, page)
    return tuple((page, words) for words, page in found.items())
