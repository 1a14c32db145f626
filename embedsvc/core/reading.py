"""Read what a model writes: inert text goes out, each citation is checked as it comes.

    text ──▶ NO_ANSWER? ──▶ inert, marks taken out ──▶ sentences ──▶ judged ──▶ text, citations

A claim is the sentence around a mark, or the part of it between two marks. Text flows at once:
citations keep their place whatever their check says, and what a sentence lacks is added behind it.
In strict reading a sentence goes out when it is complete, and only if a source supports it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from embedsvc.core.answer_judging import Group, Judge, Run, Sentence
from embedsvc.core.citations import Citation
from embedsvc.core.inert import Inert
from embedsvc.core.marks import Marker
from embedsvc.core.model import Chunk
from embedsvc.core.prompting import NO_ANSWER_WORD
from embedsvc.core.sentence_flow import End, Event, SentenceFlow, Space

UNVERIFIED = "[unverified]"

MOST_LIKE_A_MARK = 99
"""A number in brackets up to this looks like one of the marks that go out."""

MOST_REFERENCES = 20
"""References of one sentence that are read, as many as one range can name."""

MOST_CITATIONS = 1_000
"""Of an answer, with references that were read in vain."""

LONGEST_QUOTE = 1_000
"""Characters of a quote; a longer one is none, and its mark names the source alone."""

_BEFORE_WORD = re.compile(r"[\s*_`\"'“”„«‘>#\[(\\-]*")
_MOST_BEFORE_WORD = 100
_LABEL = re.compile(r"[ \t>*+\-0-9.)]*\[")
_PARTED = re.compile(r"[.,;:!?)…]*(?:\s|\Z)")
"""What may stand where a mark was taken out, without joining what must not be joined."""

_BAR = "|"

_WORDS = (NO_ANSWER_WORD, NO_ANSWER_WORD.lower(), NO_ANSWER_WORD.replace("_", " "))

Piece = str | Citation
"""What comes out of a Reader: text, and each citation right after the text of its marker."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A sentence that is not verified: `answer[start:end] == text`, ` [unverified]` behind it.

    Listed is, once, a sentence with a claim or with marks of which a part has no verified citation
    of its own, unless one passage that supports all of it was found and cited behind it. That can
    make good a mark that failed, not one of several parts of a sentence whose marks failed.
    "Yes." and "No." are always listed: no words of a source can show them.
    """

    start: int
    end: int
    text: str


class Reader:
    """Reads an answer as it comes, in pieces of any size, and lets out what may be shown.

    `text` is all text that went out, and `citations[k - 1].marker == k`. `unsupported` are the
    claims that no source supports; in strict reading they are not there but counted in `removed`.
    `passed_over` counts references that were too many for their sentence or for the answer.
    `no_answer`: the model declined, or nothing of what it said is left.

    To make one takes time in proportion to the sources; to feed it, to what it is fed.
    """

    def __init__(self, sources: Sequence[Chunk], question: str, *, strict: bool) -> None:
        self.citations: list[Citation] = []
        self.unsupported: list[Unsupported] = []
        self.removed = 0
        self.passed_over = 0
        self.no_answer = False
        self._strict = strict
        self._sources = len(sources)
        self._judge = Judge(sources, question)
        texts = (text for s in sources for text in (s.text, s.title or "", s.url or ""))
        self._inert = Inert(texts, self._is_mark)
        self._flow = SentenceFlow()
        self._opening: str | None = ""
        self._texts: list[str] = []
        self._size = 0
        self._last = ""
        self._after_mark = False
        self._left = MOST_CITATIONS
        self._parted = False
        self._pieces: list[Piece] = []
        self._space = ""
        self._sentence: Sentence | None = None
        self._previous = ""
        self._in_table = False
        self._structure: list[Sentence] = []
        self._rows_wait = False
        self._gap = ""
        self._row_open = False

    @property
    def text(self) -> str:
        """All text that went out."""
        return "".join(self._texts)

    def feed(self, text: str) -> list[Piece]:
        """Take in the next text of the model; what can be shown now."""
        if not self.no_answer and (opened := self._opened(text)):
            self._read(self._inert.feed(opened))
        return self._taken()

    def close(self) -> list[Piece]:
        """The answer has ended: what was still held back."""
        rest, self._opening = self._opening or "", None
        if not self.no_answer and not _declines(rest, ended=True):
            self._read([*self._inert.feed(rest), *self._inert.close()])
            self._take(self._flow.close())
            self._end_row()
            self.removed += sum(map(self._judge.is_verdict, self._structure))
        self.no_answer = self.no_answer or not self._texts
        return self._taken()

    def _taken(self) -> list[Piece]:
        groups = [list(some) for _, some in groupby(self._pieces, key=_is_text)]
        self._pieces = []
        return [
            piece
            for group in groups
            for piece in (["".join(map(str, group))] if _is_text(group[0]) else group)
        ]

    def _opened(self, text: str) -> str:
        """The text, once it cannot be the word for "no answer" any more."""
        if self._opening is None:
            return text
        opening = self._opening + text
        self._opening = None
        if _declines(opening, ended=False):
            self.no_answer = True
            return ""
        if _may_decline(opening):
            self._opening = opening
            return ""
        return opening

    # -- writing ----------------------------------------------------------------------------

    def _write(self, text: str) -> None:
        text = text if self._last else text.lstrip()
        if not text:
            return
        if self._after_mark and text[0] in "([:":
            text = f" {text}"
        self._after_mark = False
        self._texts.append(text)
        self._size += len(text)
        self._last = text[-1]
        self._pieces.append(text)

    def _add(self, mark: str, sentence: Sentence) -> None:
        """Write a mark behind what it belongs to."""
        space = "\n" if sentence.fenced else " "
        self._write(mark if not self._last or self._last.isspace() else space + mark)
        self._after_mark = sentence.fenced  # elsewhere the gate knows of the mark

    def _cite(self, citation: Citation, sentence: Sentence) -> None:
        citation = replace(citation, marker=len(self.citations) + 1)
        self._add(f"[{citation.marker}]", sentence)
        self.citations.append(citation)
        self._pieces.append(citation)

    # -- reading ----------------------------------------------------------------------------

    def _read(self, tokens: Sequence[str | Marker]) -> None:
        self._take(self._flow.feed(tokens))

    def _is_mark(self, marker: Marker) -> bool:
        """Whether it quotes or names sources: `[2019]` is text, as is `[10, 20]`.

        A single small number is a mark even of a source that is not there, as it would be taken
        for one of ours.
        """
        numbers = [reference.number for reference in marker.references]
        most = max(self._sources, MOST_LIKE_A_MARK) if len(numbers) == 1 else self._sources
        return marker.quotes or all(1 <= number <= most for number in numbers)

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Space):
                self._space += event.text
            elif isinstance(event, End):
                self._finish()
            elif isinstance(event, Marker):
                self._mark(event)
            else:
                self._word(event)

    def _begun(self) -> Sentence:
        if self._sentence is None:
            self._sentence = Sentence(self._space, held=self._strict)
            self._space = ""
        return self._sentence

    def _mark(self, marker: Marker) -> None:
        """Take the references of a mark that are new to their place, as far as there is room."""
        named = dict.fromkeys(
            (one.number - 1, one.quote if len(one.quote) <= LONGEST_QUOTE else "")
            for one in marker.references
        )
        group = self._sentence.runs[-1].group if self._sentence else None
        new = [one for one in named if group is None or one not in group.references]
        read = self._sentence.references if self._sentence else 0
        taken = new[: min(MOST_REFERENCES - read, self._left)]
        self.passed_over += len(new) - len(taken)
        self._parted = self._sentence is not None
        if not taken:
            return
        run = self._begun().runs[-1]
        run.group = run.group or Group([])
        run.group.references += taken
        self._left -= len(taken)

    def _word(self, word: str) -> None:
        sentence = self._begun()
        if not sentence.begun:
            self._begin(sentence, word)
        else:
            if sentence.runs[-1].group:
                self._settle(sentence)
            if self._parted and not self._space and word[0].isalnum():
                self._space = " "
        self._parted = False
        text, self._space = self._space + word, ""
        sentence.runs[-1].parts.append(text)
        if not sentence.held:
            self._write(text)

    def _begin(self, sentence: Sentence, word: str) -> None:
        row = word[0] == "|"
        sentence.header = row and not (self._in_table and "\n\n" not in sentence.lead)
        self._in_table = row
        self._start(sentence)

    def _start(self, sentence: Sentence) -> None:
        """Write what parts the sentence from the one before, once."""
        if not sentence.held and sentence.start < 0:
            self._write(sentence.lead)
            sentence.start = self._size

    def _settle(self, sentence: Sentence) -> None:
        """Words follow on marks: the marks are judged, or wait for a claim to judge."""
        first = len(sentence.runs) == 1  # what has content keeps it
        if first and not sentence.held and not self._judge.has_content(sentence):
            sentence.held = True
        if not sentence.held:
            self._judge_last(sentence)
        sentence.runs.append(Run())

    def _judge_last(self, sentence: Sentence) -> None:
        run = sentence.runs[-1]
        assert run.group is not None
        self._judge.check(sentence, run, self._previous)
        self._start(sentence)
        for citation in run.group.citations:
            self._cite(citation, sentence)

    # -- ends of sentences ------------------------------------------------------------------

    def _finish(self) -> None:
        sentence, self._sentence = self._sentence, None
        if sentence is None:
            return
        if sentence.held:
            for run in sentence.runs:
                if run.group is not None:
                    self._judge.check(sentence, run, self._previous)
        elif sentence.runs[-1].group is not None:
            self._judge_last(sentence)
        if self._strict:
            self._finish_strictly(sentence)
        else:
            self._finish_openly(sentence)
        self._previous = sentence.claim or self._previous

    def _finish_openly(self, sentence: Sentence) -> None:
        if sentence.held:
            self._release(sentence)
        failed = sentence.cites and not sentence.verified and sentence.claim != ""
        if not failed and not self._judge.needs_source(sentence):
            return
        verdict = self._judge.is_verdict(sentence)
        if not verdict and self._judge.stands(sentence, throughout=True):
            return
        citation = None
        if not verdict and not self._failed_in_part(sentence):
            citation = self._look_up(sentence)
        if citation is not None:
            self._append(citation, sentence)
            return
        end = self._size
        shown = self._shown(sentence.start)
        self._add(UNVERIFIED, sentence)
        self._after_mark = True
        self.unsupported.append(Unsupported(sentence.start, end, shown))

    def _failed_in_part(self, sentence: Sentence) -> bool:
        return sentence.cites_by_parts and any(
            run.group and all(c.status != "verified" for c in run.group.citations)
            for run in sentence.runs
        )

    def _shown(self, start: int) -> str:
        """What went out from there on."""
        back, size = len(self._texts), self._size
        while size > start:
            back -= 1
            size -= len(self._texts[back])
        return "".join(self._texts[back:])[start - size :]

    def _finish_strictly(self, sentence: Sentence) -> None:
        if self._judge.is_table_rule(sentence) and not self._rows_wait:
            self._gap = self._parting(sentence.lead)
            return  # the head above was removed
        verdict = self._judge.is_verdict(sentence)
        if self._judge.is_structure(sentence) or (verdict and not self._texts):
            self._structure.append(sentence)
            self._rows_wait = self._rows_wait or _is_row(sentence)
            return
        citation = None
        if not verdict and not self._judge.stands(sentence, throughout=True):
            needs = self._judge.needs_source(sentence)
            citation = self._look_up(sentence) if needs else None
            if citation is None:
                self.removed += bool(sentence.claim)
                self._gap = max(self._gap, sentence.lead, " ", key=_strength)
                return
        leading = self._structure if _is_row(sentence) else self._without_rows()
        for one in [*leading, sentence]:
            one.lead = self._parting(one.lead)
            self._gap = ""
            self._release(one)
        self._structure, self._rows_wait = [], False
        if citation is not None:
            self._append(citation, sentence)

    def _without_rows(self) -> list[Sentence]:
        """What leads to a sentence that is no row: the head of a table without rows is removed."""
        for row in filter(_is_row, self._structure):
            self._gap = max(self._gap, row.lead, key=_strength)
        return [one for one in self._structure if not _is_row(one)]

    def _parting(self, lead: str) -> str:
        """What parts a sentence from the one that went out before, which need not be its own.

        The bar that ends a row stands in it exactly if a row went out.
        """
        wide = max(self._gap, lead, key=_strength)
        if not self._strict or (_BAR in wide) == self._row_open:
            return wide
        if not self._row_open:
            return wide.replace(_BAR, "").lstrip(" ") or " "
        return f" {_BAR}{wide}" if _BAR in self._gap + lead else wide

    def _end_row(self) -> None:
        """The bar of the last row of a table, also if other rows behind it were removed."""
        leads = [self._gap, *(one.lead for one in self._structure), self._space]
        if not self._strict or (not self._gap and not self._structure):
            rest = self._space
        else:
            rest = f" {_BAR}" if self._row_open and _BAR in "".join(leads) else ""
        if self._last and rest.strip():
            self._write(rest)

    def _look_up(self, sentence: Sentence) -> Citation | None:
        """A citation for a sentence that has none, while there is room for one."""
        if self._left == 0:
            return None
        citation = self._judge.look_up(sentence)
        self._left -= citation is not None
        return citation

    def _append(self, citation: Citation, sentence: Sentence) -> None:
        """Cite behind a complete sentence, at a place that the model did not mark."""
        self._cite(citation, sentence)
        self._after_mark = True

    def _release(self, sentence: Sentence) -> None:
        """Write a sentence that was held; in strict reading without marks that failed."""
        self._row_open = _is_row(sentence)
        skipped = sentence.start >= 0  # its words before the first mark went out
        sentence.held = False
        self._start(sentence)
        dropped = False
        label = _LABEL.match(sentence.runs[0].words + "[" * (sentence.runs[0].group is not None))
        for run in sentence.runs:
            words = run.words
            if label and self._strict:  # it may have come to the beginning of a line
                words = re.sub(r"(?:\A|(?<=\]))(?=:)", " ", words)
            if not skipped:
                self._write(f" {words}" if dropped and not _PARTED.match(words) else words)
            skipped = False
            if run.group is None:
                break
            cited = [c for c in run.group.citations if not self._strict or c.status == "verified"]
            for citation in cited:
                self._cite(citation, sentence)
            dropped = not cited


def _is_text(piece: Piece) -> bool:
    return isinstance(piece, str)


def _is_row(sentence: Sentence) -> bool:
    return sentence.runs[0].words.startswith(_BAR)


def _strength(space: str) -> tuple[int, int]:
    return space.count("\n"), len(space)


def _may_decline(opening: str) -> bool:
    """Whether the beginning still can become the word for "no answer"."""
    if len(opening) > _MOST_BEFORE_WORD:
        return False
    rest = _BEFORE_WORD.sub("", opening, count=1).replace("\\", "")
    return any(word.startswith(rest.rstrip("_*") or rest) or rest.strip("_*") == word
               for word in _WORDS)  # fmt: skip


def _declines(opening: str, ended: bool) -> bool:
    """Whether the text begins with the word for "no answer"."""
    rest = _BEFORE_WORD.sub("", opening[: 2 * _MOST_BEFORE_WORD], count=1).replace("\\", "")
    for word in _WORDS:
        if rest.startswith(word):
            behind = rest[len(word) :].lstrip("_*")
            return not behind[0].isalnum() if behind else ended
    return False
