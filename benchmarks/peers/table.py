"""The document of a run as a text for a terminal, and as Markdown. Every group of rows is a table with a line for each peer."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.report import number

OURS = "hierstore"
_WIDTH = 118
_US = ((1e6, "s"), (1e3, "ms"), (1.0, "us"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_SHORT = 40

Document = Mapping[str, Any]
Cell = Mapping[str, Any]


def groups(document: Document) -> dict[str, list[Mapping[str, Any]]]:
    """The rows by the table they stand in, in their order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in document["rows"]:
        found.setdefault(row["group"], []).append(row)
    return found


def value(cell: Cell, unit: str) -> str:
    """A cell's figure with its unit, or the text that stands for it."""
    if "text" in cell:
        return str(cell["text"])
    median = cell["median"]
    if unit == "us" and not median:
        return "at once"
    if unit == "us":
        return _scaled(median, _US)
    if unit == "bytes":
        return _scaled(median, _BYTES)
    return {"/s": "{}/s", "x": "{}x", "%": "{} %"}.get(unit, "{}").format(number(median))


def _scaled(median: float, units: Sequence[tuple[float, str]]) -> str:
    for size, unit in units:
        if median >= size:
            return f"{number(median / size)} {unit}"
    return f"{number(median)} {units[-1][1]}"


def spread(cell: Cell) -> str:
    """Half of what lies between p10 and p90, in per cent of the median; nothing for a single sample."""
    if cell.get("samples", 0) < 2 or not cell["median"]:
        return ""
    return f"±{50 * (cell['p90'] - cell['p10']) / cell['median']:.0f}%"


def ratio(cell: Cell) -> str:
    """The cell's figure over hierstore's."""
    return f"{number(cell['ratio'])}x" if cell.get("ratio") else ""


def exponent(found: Mapping[str, float] | None) -> str:
    """A fit, with that of the last step in parentheses."""
    return "-" if found is None else f"{found['exponent']:.2f} ({found['last']:.2f})"


class Notes:
    """Sentences below a table, each once, and the signs that stand for them in it."""

    def __init__(self) -> None:
        self._signs: dict[str, str] = {}

    def sign(self, sentence: str) -> str:
        if not sentence:
            return ""
        return self._signs.setdefault(sentence, f"[{len(self._signs) + 1}]")

    def __iter__(self) -> Iterator[str]:
        return iter([f"{sign} {sentence}" for sentence, sign in self._signs.items()])


# Terminal


def terminal(document: Document) -> str:
    """All tables as text."""
    parts = [_head(document)]
    parts += [_table(name, rows, document) for name, rows in groups(document).items()]
    if document["fits"]:
        parts.append(_fits(document))
    parts.append("\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in legend()))
    return "\n\n".join(parts)


def _head(document: Document) -> str:
    return "\n".join(
        textwrap.fill(line, _WIDTH, subsequent_indent="  ")
        for line in (_told(document), _machine(document), *peers_told(document))
    )


def _told(document: Document) -> str:
    return f"{document['command']}, {document['date']}, took {document['took_s']:,.0f} s"


def _machine(document: Document) -> str:
    facts = document["machine"]
    return ", ".join(f"{name.replace('_', ' ')} {fact}" for name, fact in facts.items() if fact is not None)


def peers_told(document: Document) -> list[str]:
    """Every peer with its version and what is to be known of its configuration."""
    return [
        f"{name}: " + ". ".join(filter(None, (_version(peer), peer["note"].rstrip(".")))) + "."
        for name, peer in document["peers"].items()
    ]


def _version(peer: Mapping[str, Any]) -> str:
    what = " ".join(filter(None, (peer["distribution"], peer["version"])))
    return ", ".join(filter(None, (what, "a floor" if peer["is_floor"] else "")))


def _table(name: str, rows: Sequence[Mapping[str, Any]], document: Document) -> str:
    notes = Notes()
    cells = [[peer, *(_short(row["cells"][peer], row["unit"], notes) for row in rows)] for peer in document["peers"]]
    per = f", by {rows[0]['per']}" if rows[0].get("per") else ""
    return _aligned(f"{name}{per}", ["", *(row["name"] for row in rows)], cells, notes)


def _blocks(widths: Sequence[int]) -> Iterator[list[int]]:
    """Columns that fit beside each other, each time after the first one."""
    block = [0]
    for place, width in enumerate(widths):
        if len(block) > 1 and sum(widths[one] + 2 for one in block) + width > _WIDTH:
            yield block
            block = [0]
        block += [place] if place else []
    yield block


def _aligned(name: str, heads: Sequence[str], cells: Sequence[Sequence[str]], notes: Notes) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    words = [max([len(word) for word in head.split()], default=0) for head in heads]
    widths = [max(both) for both in zip(widths, words, strict=True)]
    room = max(8, (_WIDTH - widths[0]) // max(1, len(heads) - 1) - 2)
    broken = [textwrap.wrap(head, max(width, min(room, 18))) for head, width in zip(heads, widths, strict=True)]
    widths = [max([width, *map(len, lines)]) for width, lines in zip(widths, broken, strict=True)]
    lines = [name]
    height = max(map(len, broken))
    padded = [[""] * (height - len(head)) + head for head in broken]
    for block in _blocks(widths):
        own = [widths[place] for place in block]
        lines.append("-" * (sum(own) + 2 * len(own) - 2))
        lines += [_line([padded[place][level] for place in block], own) for level in range(height)]
        lines += [_line([line[place] for place in block], own) for line in cells]
    lines += [textwrap.fill(note, _WIDTH, subsequent_indent="    ") for note in notes]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    parts = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
    return "  ".join(parts).rstrip()


def _short(cell: Cell, unit: str, notes: Notes) -> str:
    if "why" in cell:
        return cell["why"] if cell["why"] == "not installed" else f"{cell['why']} {notes.sign(cell['reason'])}"
    text = value(cell, unit)
    if len(text) > _SHORT // 2:
        word, _, rest = text.partition(":")
        text = f"{word} {notes.sign(rest.strip())}" if rest else text
    return " ".join(filter(None, (text, spread(cell), ratio(cell), notes.sign(cell.get("note", "")))))


def _fits(document: Document) -> str:
    lines = [[peer, *(exponent(found["peers"].get(peer)) for found in document["fits"])] for peer in document["peers"]]
    heads = ["", *(found["op"] for found in document["fits"])]
    return _aligned(
        "How each cost grows: the exponent over all sizes (and between the last two)", heads, lines, Notes()
    )


def legend() -> list[str]:
    """What the signs in the tables mean."""
    return [
        "Medians. ±: half of what lies between the 10th and the 90th percentile.",
        "x: the figure over hierstore's: of a time, more is slower, of a rate, less is slower.",
        "cannot: the peer's public API does not offer it. failed: it raised, hung or died.",
        "gave up: it would take more time than the benchmark allows.",
        "An exponent of 0 is a cost that does not grow, of 1 one in proportion to the size.",
        "Where fewer than three sizes could be measured there is no exponent.",
    ]


# Markdown


def markdown(document: Document) -> str:
    """All tables as Markdown."""
    parts = ["# Side by side with the field", _paragraph(document)]
    parts += ["\n".join(f"- {line}" for line in peers_told(document))]
    for name, rows in groups(document).items():
        parts += [f"## {name}", _markdown_table(rows, document)]
    if document["fits"]:
        parts += ["## How each cost grows", *_markdown_fits(document)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in legend())]) + "\n"


def _paragraph(document: Document) -> str:
    return f"`{_told(document).replace(', ', '`, ', 1)}. {_machine(document)}."


def _markdown_table(rows: Sequence[Mapping[str, Any]], document: Document) -> str:
    heads = ["", *(row["name"] for row in rows)]
    lines = [[peer, *(_long(row["cells"][peer], row["unit"]) for row in rows)] for peer in document["peers"]]
    return _pipes(heads, lines)


def _pipes(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["--:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in (heads, rule, *lines))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _long(cell: Cell, unit: str) -> str:
    if "why" in cell:
        return cell["why"] if cell["why"] == "not installed" else f"{cell['why']}: {cell['reason']}"
    note = f"({cell['note']})" if cell.get("note") else ""
    return " ".join(filter(None, (value(cell, unit), spread(cell), _bold(ratio(cell)), note)))


def _bold(text: str) -> str:
    return f"**{text}**" if text else ""


def _markdown_fits(document: Document) -> list[str]:
    parts: list[str] = []
    by_size: Callable[[Any], str] = lambda found: found["per"]  # noqa: E731  # a key, used twice
    for per in dict.fromkeys(map(by_size, document["fits"])):
        found = [one for one in document["fits"] if one["per"] == per]
        lines = [[peer, *(exponent(one["peers"].get(peer)) for one in found)] for peer in document["peers"]]
        parts += [f"By {per}: the exponent over all sizes, and between the last two.", ""]
        parts[-1] = _pipes(["", *(one["group"] for one in found)], lines)
    return parts
