"""Make a follow-up question stand alone without a language model: by rule.

    How many moons does Saturn have?   And Mars?             How many moons does Mars have?
    When did Maria Keller join Acme?   And when did she go?  Maria Keller, Acme: when did she go?
    What is the capital of France?     Why?                  What is the capital of France? Why?

The rules know names by their capitals, and pronouns in English, German, Spanish and French.
"""

import re
from collections.abc import Sequence

from embedsvc.core.model import Message
from embedsvc.core.stopwords import STOP_WORDS
from embedsvc.core.tokens import words

_REFERRING = """
it its they them their theirs he him his she her hers this that these those there
er ihn ihm sein seine sie ihr ihre dies diese dieser dieses jene dort davon damit dazu darin
él ella ello ellos ellas eso esa ese esto esta este estos estas allí ahí su sus
elle ils elles cela ceci celui celle leur leurs
"""

REFERRING = frozenset(_REFERRING.split())
"""Words that stand for something said before, in English, German, Spanish and French."""

_BEGINNING = re.compile(
    r"^\W*(?:(?:and|or|but|so|also|what about|how about|und|oder|aber|was ist mit|wie steht es|"
    r"y|o|pero|qué tal|et|ou|mais|qu'en est-il)\b[\s,]*)+",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"^(?:(?:the|a|an|about|in|for|with|der|die|das|den|dem|mit|um|bei|el|la|los|las|le|les|de)\s+"
    r"|l['’])+",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_][\w'’&.-]*[^\W_]|[^\W_]")
_FEWEST_WORDS = 2
_FEW_WORDS = 4
_LONGEST = 1_000
_MOST_TURNS = 16


def stand_alone(question: str, history: Sequence[Message]) -> str:
    """The question so that it stands alone, where it does not.

    It does not when it begins with "and" and is no whole question, has fewer than two words of its
    own, or few and a pronoun: in a longer question a pronoun mostly refers to the question itself.
    Something else to ask the same of takes the place of the name that was asked about; a question
    with a pronoun gets the names of the former one before it, any other the former one.
    """
    former = ""
    for asked in [m.content for m in history if m.role == "user"][-_MOST_TURNS:]:
        former = _after(former, asked[-_LONGEST:])
    return _after(former, question)


def depends(question: str) -> bool:
    """Whether a question needs what was said before it."""
    found = words(_BEGINNING.sub("", question))
    content = [word for word in found if word not in STOP_WORDS]
    refers = not REFERRING.isdisjoint(found)
    if _BEGINNING.match(question):
        return refers or len(content) < _FEWEST_WORDS or not _is_whole(found, content)
    return len(content) < _FEWEST_WORDS or (refers and len(content) <= _FEW_WORDS)


def _is_whole(found: Sequence[str], content: Sequence[str]) -> bool:
    """Whether a question begins as one: with a word such as "who" or "did"."""
    return found[0] in STOP_WORDS and found[0] not in content and len(found) > len(content) + 1


def _after(former: str, question: str) -> str:
    if not former or not depends(question):
        return question
    former = former[-_LONGEST:]
    if (exchanged := _exchanged(former, question)) is not None:
        return exchanged
    told = names(former)
    if told and not REFERRING.isdisjoint(words(question)):
        return f"{', '.join(told)}: {_BEGINNING.sub('', question)}"
    return f"{former} {question}"


def _exchanged(former: str, question: str) -> str | None:
    """The former question about another name; None where that is not what is asked."""
    rest = _ARTICLE.sub("", _BEGINNING.sub("", question)).strip().rstrip("?!. ")
    if not _BEGINNING.match(question) or names(f". {rest}") != [rest]:
        return None
    there = names(former)
    alike = [name for name in there if set(words(name)) & set(words(rest))]
    (replaced, *more) = alike or there or [""]
    if not replaced or more:
        return None
    return former.replace(replaced, rest)


def names(text: str) -> list[str]:
    """Runs of words with capitals, each once; not the word that a question begins with."""
    found: list[str] = []
    end = -1
    for number, match in enumerate(_WORD.finditer(text)):
        word = match.group()
        begins = number == 0 and word.lower() in STOP_WORDS
        if not word[0].isupper() or begins:
            continue
        if found and text[end : match.start()].isspace():
            found[-1] = f"{found[-1]}{text[end : match.start()]}{word}"
        else:
            found.append(word)
        end = match.end()
    return list(dict.fromkeys(found))
