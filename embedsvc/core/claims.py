"""Which sentences of an answer claim something about the world, and so need a source.

Greetings, questions and "the sources do not say" claim nothing. What asks the reader to do
something does: an instruction has to stand in a source too. A heading, a bold line, the sentence
before a list and the head of a table are structure only where they name a topic: answer_judging.py
asks the sources whether it is theirs.
"""

import re
from functools import cache

from embedsvc.core.denials import denies
from embedsvc.core.lexical import fold
from embedsvc.core.wording import Wording, stem

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

_NEUTRAL = """
amount background capital category cell city column comments conclusion country date description
definition duration example examples field introduction item items key limit meaning name number
period person place process reason remark remarks requirement requirements result results role row
rule rules takeaway takeaways term time title topic type value year
anmerkung art bedeutung begriff beschreibung betrag datum einleitung ergebnis fazit feld frist grund
jahr kategorie land name ort regel regeln rolle spalte stadt thema titel typ voraussetzungen wert
zahl zeile zeit ciudad concepto conclusión descripción ejemplo fecha importe nombre número país
resultado tipo valor año date exemple montant nom pays résultat valeur ville
"""

_STATES = """
is are was were be been being am can could may might must shall should will would has have had
do does did isn't aren't always never every
ist sind war waren sein wird werden wurde wurden kann können darf dürfen muss müssen soll sollte
sollen hat haben hatte immer nie
son era eran fue ser está están puede pueden debe deben ha han hay siempre
est sont était étaient être peut peuvent doit doivent ont toujours
"""
"""Words by which a line says something of what it names."""

_TRUTH = re.compile(
    r"[\W_]*(?:yes|no|yep|nope|yeah|ja|nein|doch|sí|si|oui|non|true|false|correct|incorrect|right|"
    r"wrong|richtig|falsch|wahr|exactly|absolutely|definitely|of course|certainly)[\W_]*",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[^\W\d_]")
_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
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


@cache
def neutral() -> frozenset[str]:
    """Stems of words that a heading or the head of a table may hold whatever the sources hold."""
    return talk() | {stem(fold(word)) for word in _NEUTRAL.split()}


@cache
def _stating() -> frozenset[str]:
    return frozenset(fold(word) for word in _STATES.split())


def is_verdict(sentence: Wording) -> bool:
    """Whether it is "Yes." or "No.": a claim that no words of a source can show."""
    return _TRUTH.fullmatch(sentence.text) is not None


def states(line: Wording) -> bool:
    """Whether a line that looks like a title says or denies something of what it names."""
    words = {fold(word) for word in _LETTERS.findall(line.text)}
    return not words.isdisjoint(_stating()) or denies(line.text)


def has_word(sentence: Wording) -> bool:
    """Whether any letter stands in it: a bare number says nothing that could be looked up."""
    return _LETTER.search(sentence.text) is not None


def is_heading(sentence: Wording) -> bool:
    """Whether it looks like a heading: a short one without figures or an address."""
    text = sentence.text
    if not (_HEADING.match(text) or _BOLD_LINE.fullmatch(text)):
        return False
    few = len(text.split()) <= MOST_WORDS_OF_HEADING
    return few and not sentence.figures.numbers and not _ADDRESS.search(text)


def is_table_head(row: Wording) -> bool:
    """Whether the first row of a table looks like the names of its columns."""
    return len(row.text.split()) <= MOST_WORDS_OF_TABLE_HEAD and not _ADDRESS.search(row.text)


def is_introduction(sentence: Wording, question: Wording) -> bool:
    """Whether it looks like a lead to what follows: a short line that ends with a colon."""
    text = sentence.text
    if not _ENDS_INTRODUCTION.search(text) or len(text.split()) > MOST_WORDS_OF_INTRODUCTION:
        return False
    if _ADDRESS.search(text):
        return False
    new = sentence.terms - question.terms - talk()
    return len(new) <= MOST_NEW_IN_INTRODUCTION


def is_claim(sentence: Wording, question: Wording) -> bool:
    """Whether the sentence needs a source, if it is no heading and the like."""
    text = sentence.text
    if _TABLE_RULE.match(text):
        return False
    if _ENDS_QUESTION.search(text) and not _ADDRESS.search(text):
        return False
    if is_verdict(sentence):
        return True
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
