"""Words that turn a statement round: open and closed, at least and at most, valid and invalid."""

import re
from functools import lru_cache
from itertools import chain

from embedsvc.core.lexical import fold

_PAIRS = """
on | off
open opens opened opening offen geoffnet offnet abierto abierta abre ouvert ouverte ouvre | closed close closes closing geschlossen schliesst cerrado cerrada cierra ferme fermee
add adds added adding hinzufugt hinzugefugt anadir anade ajouter ajoute | drop drops dropped remove removes removed removing delete deletes deleted entfernt entfernen eliminar elimina supprimer supprime
increase increases increased increasing rise rises rose risen grew grow grows steigt stieg gestiegen erhoht aumenta aumento augmente | decrease decreases decreased decreasing fall falls fell fallen drop drops dropped declined decline declines reduced reduces sinkt sank gesunken senkt disminuye disminuyo diminue
before vor bevor antes avant | after nach nachdem despues apres
enable enables enabled activate activated aktiviert eingeschaltet activado active | disable disables disabled deactivated deaktiviert ausgeschaltet desactivado desactive
always immer siempre toujours | never sometimes nie manchmal nunca jamais
minimum minimal mindestens minimo atleast | maximum max hochstens maximal maximo upto atmost
sometimes manchmal | always immer
more mehr mas plus | less fewer weniger menos moins
above over exceed exceeds exceeded uber | below under unter
first earliest erste ersten erster primero premier | last latest letzte letzten letzter ultimo dernier
start starts started begin begins began beginnt begann empieza commence | end ends ended stop stops stopped endet endete termina finit
higher highest hoher hochste | lower lowest niedriger niedrigste
larger largest bigger biggest greater grosser grosste mayor | smaller smallest kleiner kleinste menor
faster fastest schneller schnellste | slower slowest langsamer langsamste
longer longest langer | shorter shortest kurzer
older oldest alter alteste | younger youngest newer newest junger jungste
include includes included including | exclude excludes excluded excluding
accept accepts accepted | reject rejects rejected
allow allows allowed permit permits permitted grant granted erlaubt permitido autorise | denied deny forbidden prohibited banned disallowed verboten untersagt prohibido interdit
mandatory required compulsory | optional
success succeeds succeeded successful | fail fails failed failure
true wahr | false falsch
public | private
inside innerhalb | outside ausserhalb
north norden nordlich | south suden sudlich
east osten ostlich | west westen westlich
left links izquierda gauche | right rechts derecha droite
win wins won gewinnt gewann | lose loses lost verliert verlor
buy buys bought | sell sells sold
import imports imported | export exports exported
safe sicher | dangerous hazardous gefahrlich
free kostenlos | paid kostenpflichtig
alive | dead
hot | cold
early | late
top | bottom
best | worst
majority | minority
"""  # noqa: E501
_SIDES = [
    tuple(frozenset(side.split()) for side in line.split("|"))
    for line in _PAIRS.strip().splitlines()
]
_PHRASES = (
    (re.compile(r"\b(?:not true|nicht wahr)\b"), "false"),
    (re.compile(r"\b(?:at least|no less than|not less than|al menos|au moins)\b"), "atleast"),
    (
        re.compile(r"\b(?:at most|no more than|not more than|up to|bis zu|como maximo|au plus)\b"),
        "atmost",
    ),
)
_WORD = re.compile(r"[^\W\d_]+")
_PREFIX = re.compile(r"(?:un|in|im|il|ir|dis|de|non)(?=\w{4})")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_PRAISES = _set(
    """
    good great excellent wonderful amazing fantastic superb brilliant gut gute guter gutes guten
    grossartig grossartige hervorragend ausgezeichnet bueno buena buenos buenas excelente genial
    bon bonne bons bonnes
    """
)
_BLAMES = _set(
    """
    bad terrible awful horrible dreadful lousy schlecht schlechte schlechter schlechten
    furchtbar malo mala malos malas mauvais mauvaise mauvaises
    """
)
_PRAISES_TOO = _set(
    """
    better best well positive effective successful success popular fine high higher large larger
    big major strong favourable favorable suitable useful safe healthy perfect acclaimed praised
    outstanding many much significant considerable famous important besser beste besten bester
    wohl erfolgreich wirksam beliebt mejor bien eficaz exitoso gran grande grandes mieux
    meilleur meilleure efficace
    """
)
_BLAMES_TOO = _set(
    """
    worse worst badly negative poor poorly harmful ineffective unsuitable unpopular severe
    serious evil wrong damaging weak low unhealthy criticised criticized schlechter schlimm
    schadlich peor mal perjudicial pire nuisible
    """
)
_TALKS = re.compile(
    r"\A\W*(?:great|good)\b(?:\W(?!\w)|$)|"
    r"\b(?:great|good|bad) (?:news|questions?|points?|thing)\b|"
    r"\bgreat (?:deal|many|extent|part|number)|\bgoods?(?: faith| practice|s\b)|"
    r"\b(?:great|good) (?-i:[A-Z])|\bas good as|\bfor good\b",
    re.IGNORECASE,
)
"""Where such a word judges nothing: "Great: …", "a great deal", "Great Britain"."""


def flips(claim: str, source: str) -> bool:
    """Whether the claim has one of two opposite words and the source only the other one.

    So it is where the claim calls something good or bad of which the source says nothing like it.
    """
    mine, theirs = _words(claim), _words(source)
    turned = _by_pairs(mine, theirs) or _by_prefix(mine, theirs) or _by_prefix(theirs, mine)
    return turned or _judges_alone(claim, theirs)


def _judges_alone(claim: str, theirs: frozenset[str]) -> bool:
    mine = _words(_TALKS.sub(" ", claim))
    return any(
        mine & judging and theirs.isdisjoint(chain(judging, others))
        for judging, others in ((_PRAISES, _PRAISES_TOO), (_BLAMES, _BLAMES_TOO))
    )


def _by_pairs(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    for one, other in _SIDES:
        for side, opposite in ((one, other), (other, one)):
            if (
                mine & side
                and theirs & opposite
                and mine.isdisjoint(opposite)
                and theirs.isdisjoint(side)
            ):
                return True
    return False


def _by_prefix(plain: frozenset[str], turned: frozenset[str]) -> bool:
    """Whether one text says "valid" and the other only "invalid"."""
    for word in turned - plain:
        match = _PREFIX.match(word)
        bare = word[match.end() :] if match else ""
        if bare and bare in plain and bare not in turned:
            return True
    return False


@lru_cache(maxsize=4_000)  # the same sentences are compared with many claims
def _words(text: str) -> frozenset[str]:
    bare = fold(text)
    for pattern, name in _PHRASES:
        bare = pattern.sub(name, bare)
    return frozenset(_WORD.findall(bare))
