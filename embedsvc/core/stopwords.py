"""Words that carry no content, so that a question is not found by its form.

Short lists of the commonest function and question words; languages without one are compared by all
their words, which costs precision and nothing else.
"""

_ENGLISH = """
a about after all also an and any are as at be because been before being between both but by can
could did do does doing down during each few for from further get had has have having he her here
him his how i if in into is it its itself just me mean means more most much many my no nor not now
of off on once only or other our out over own same she should so some such than that the their them
then there these they this those through to too under until up very was we were what when where
which while who whom whose why will with would you your
"""
_GERMAN = """
aber alle als also am an auch auf aus bei beim bin bis bist da damit dann das dass dem den der des
die dies diese dieser dieses doch dort du durch ein eine einem einen einer eines er es für gab gibt
hat hatte hatten haben ich ihr ihre im in ist ja kann kein keine können man mehr mit nach nicht noch
nur ob oder ohne sein seine sich sie sind so über um und uns unter viele vom von vor war waren warum
was welche welcher welches welchem welchen wem wen wenn wer wessen werden wie wieviel wir wird wo
wurde wurden zu zum zur
"""
_SPANISH = """
a al algo como con cual cuál cuales cuáles cuando cuándo cuanto cuánto cuantos cuántos cuantas
cuántas de del desde donde dónde el él ella ellos en entre era eran es esa ese eso esta está este
esto fue fueron ha había han hasta hay la las le les lo los más me mi mientras muy no nos o otra
otro para pero por porque qué que quien quién quienes quiénes se según ser si sí sin sobre son su
sus también te tiene todo tras tu un una uno unos y ya
"""
_FRENCH = """
à au aux avec ce ces cet cette combien comment dans de des du elle en est et était été être eu il
ils je la le les leur lui mais me même mes moi mon ne nos notre nous on ont ou où par pas pour
pourquoi quand que quel quelle quelles quels qui quoi sa sans se ses si son sont sur ta te tes toi
ton tu un une vos votre vous y
"""

STOP_WORDS = frozenset(" ".join((_ENGLISH, _GERMAN, _SPANISH, _FRENCH)).split())
