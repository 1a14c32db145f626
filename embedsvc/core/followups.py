"""Make a follow-up question stand alone without a language model: by rule."""

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
    r"^\W*(?:and|or|but|so|also|what about|how about|und|oder|aber|was ist mit|wie steht es|"
    r"y|o|pero|qué tal|et|ou|mais|qu'en est-il)\b",
    re.IGNORECASE,
)
_FEWEST_WORDS = 2
_FEW_WORDS = 4
_LONGEST = 1_000
_MOST_TURNS = 16


def stand_alone(question: str, history: Sequence[Message]) -> str:
    """The question with the former one before it where it does not stand alone.

    It does not when it begins with "and" or the like, has fewer than two words of its own, or few
    and a pronoun: in a longer question a pronoun mostly refers to the question itself.
    """
    former = ""
    for asked in [m.content for m in history if m.role == "user"][-_MOST_TURNS:]:
        former = _after(former, asked[-_LONGEST:])
    return _after(former, question)


def _after(former: str, question: str) -> str:
    if not former or not depends(question):
        return question
    return f"{former[-_LONGEST:]} {question}"


def depends(question: str) -> bool:
    """Whether a question needs what was said before it."""
    if _BEGINNING.search(question):
        return True
    found = words(question)
    content = [word for word in found if word not in STOP_WORDS]
    refers = not REFERRING.isdisjoint(found)
    return len(content) < _FEWEST_WORDS or (refers and len(content) <= _FEW_WORDS)
