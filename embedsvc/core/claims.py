"""Which sentences of an answer claim something about the world, and so need a source.

Greetings, questions, headings, the sentence before a list and "the sources do not say" claim
nothing. What asks the reader to do something does: an instruction has to stand in a source too.
"""

import re
from functools import cache

from embedsvc.core.lexical import fold
from embedsvc.core.wording import Wording, denies, stem

MOST_WORDS_OF_HEADING = 8
MOST_WORDS_OF_INTRODUCTION = 14
MOST_WORDS_OF_TABLE_HEAD = 30

MOST_NEW_IN_INTRODUCTION = 2
"""Content words of a line that ends with a colon, besides those of the question and of talk."""

_TALK = """
accord accordance additional additionally answer answers available base based below brief briefly
certain certainly clear conclude conclusion contain contains context course describe described
detail details discuss document documents documentation explain explained excerpt fact find follow
following follows found further furthermore give given glad good great happy hello help here hi
hope however include includes indicate information key know let like list listed main mention
mentioned moreover note noted option options overall overview passage passages place please point
points problem provide provided question questions relevant respond result say says section see
show shown sorry source sources specific specify state stated states step steps sum summarise
summary summarize sure tell text texts thank thanks thing things understand unfortunately want
welcome write wrote according afraid able unable unclear unknown unsure insufficient enough yes ok
okay antwort antworten auskunft beispiel bitte danke darum daher dokument dokumente enthalten
enthält entnehmen folgende folgenden folgendes frage fragen gern gerne geben gegeben genannt gut
hallo hilfe hinweis informationen kurz laut leider liste nennen punkte quelle quellen sagen sagt
schritte steht stehen texte tut leid weiß weiss wissen zusammenfassung zusammengefasst überblick
dazu hierzu darüber davon daran hierfür dafür hier mir acuerdo contestar contexto decir dice dicen
documento documentos encontrar encuentra encuentro fuente fuentes gracias hola información lista
lamentablemente lamento lo menciona mencionan mencionar pasos pregunta preguntas puedo puntos
respecto respuesta responder resumen resumir saber siento siguiente siguientes sé texto bonjour
contexte désolé dire dit fournis informations malheureusement mentionne mentionnent merci peux
répondre réponse résumé sais savoir suivant suivante suivantes suivants trouve trouver voici
étapes
"""

_NOUN_OF_TALK = re.compile(
    r"\b(?:sources?|documents?|documentation|texts?|passages?|context|information|answers?|excerpts?|"
    r"quellen?|dokumente?n?|informationen|kontext|antwort|angaben?|fuentes?|documentos?|texto|"
    r"informacion|contexto|respuesta|contexte|informations?|reponse|question|frage|pregunta)\b"
)
_ENDS_QUESTION = re.compile(r"[?？][\"'”’»)*_]*\s*\Z")
_ENDS_INTRODUCTION = re.compile(r"[:：][\"'”’»)*_]*\s*\Z")
_HEADING = re.compile(r"\s*#{1,6}\s")
_BOLD_LINE = re.compile(r"\s*(\*\*|__)[^*_\n]+\1:?\s*")
_TABLE_RULE = re.compile(r"[\s|:+=-]*\Z")
_ADDRESS = re.compile(r"@|://|www\.|\[link removed\]")


@cache
def talk() -> frozenset[str]:
    """Stems of words that speak of the answer and its sources, not of what these are about."""
    return frozenset(stem(fold(word)) for word in _TALK.split())


def is_heading(sentence: Wording) -> bool:
    """Whether it is a short heading without figures or an address."""
    text = sentence.text
    if not (_HEADING.match(text) or _BOLD_LINE.fullmatch(text)):
        return False
    few = len(text.split()) <= MOST_WORDS_OF_HEADING
    return few and not sentence.figures.numbers and not _ADDRESS.search(text)


def is_table_head(row: Wording) -> bool:
    """Whether the first row of a table only names its columns."""
    return len(row.text.split()) <= MOST_WORDS_OF_TABLE_HEAD and not _ADDRESS.search(row.text)


def is_introduction(sentence: Wording, question: Wording) -> bool:
    """Whether it only leads to what follows: a short line that ends with a colon."""
    text = sentence.text
    if not _ENDS_INTRODUCTION.search(text) or len(text.split()) > MOST_WORDS_OF_INTRODUCTION:
        return False
    if _ADDRESS.search(text):
        return False
    new = sentence.terms - question.terms - talk()
    return len(new) <= MOST_NEW_IN_INTRODUCTION


def is_claim(sentence: Wording, question: Wording) -> bool:
    """Whether the sentence needs a source."""
    text = sentence.text
    if _TABLE_RULE.match(text):
        return False
    if _ENDS_QUESTION.search(text) and not _ADDRESS.search(text):
        return False
    if is_heading(sentence) or is_introduction(sentence, question):
        return False
    figures = sentence.figures
    if figures.numbers or figures.codes or _ADDRESS.search(text):
        return True
    new = sentence.terms - talk()
    if not new:
        return False
    return not (new <= question.terms and _says_that_nothing_is_said(text))


def _says_that_nothing_is_said(text: str) -> bool:
    """Whether it denies something of the sources: "they do not mention …"."""
    return denies(text) and bool(_NOUN_OF_TALK.search(fold(text)))
