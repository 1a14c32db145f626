"""Numbers, their signs, units and bounds, months and names of people in a claim and its quote."""

import pytest

from embedsvc.core.numerals import figures
from embedsvc.core.support import supports

STAFF = "Acme has 1,250 employees."
TANK = "The tank holds 5 litres."
DAM = "The dam holds 7,000 litres."
DEBT = "The debt is 12 million euros."
COLD = "The temperature is -40 degrees."
MOONS = "Saturn has 146 known moons."

SAME = [
    # -- separators
    ("The tank holds five litres.", TANK),
    ("The tank holds 5.0 litres.", TANK),
    ("Der Tank fasst 5.000 Liter.", "Der Tank fasst 5000 Liter."),
    ("Der Damm fasst 7 000 Liter.", "Der Damm fasst 7.000 Liter."),
    ("The dam holds 7.000 litres.", DAM),
    ("The dam holds 7 000 litres.", DAM),
    ("The dam holds 7000 litres.", DAM),
    ("The dam holds seven thousand litres.", DAM),
    ("The tank holds 3,5 litres.", "The tank holds 3.5 litres."),
    ("The tank holds 1,250 litres.", "The tank holds 1.250 litres."),
    ("The tank holds 1.250 litres.", "The tank holds 1.25 litres."),
    ("The debt is 12,000,000 euros.", DEBT),
    ("The debt is 12.5 million euros.", "The debt is 12,500,000 euros."),
    ("The debt is 1.234 million euros.", "The debt is 1,234,000 euros."),
    ("The debt is 1,250 million euros.", "The debt is 1.25 billion euros."),
    ("The debt is 12 thousand million euros.", "The debt is 12 billion euros."),
    ("The contract was signed on 4 July 1776.", "The contract was signed on July 4,1776."),
    ("The contract was signed on 4 July 1776.", "The contract was signed on 04.07.1776."),
    ("It runs on Python 3.8.", "It runs on Python 3.8.1."),
    ("The shop opens at 8:30.", "The shop opens at 8.30 am."),
    # -- signs
    ("The temperature is minus 40 degrees.", COLD),
    ("The temperature is −40 degrees.", COLD),
    ("The temperature is minus forty degrees.", COLD),
    ("The temperature is 40 degrees below zero.", COLD),
    ("-40 degrees is the temperature.", COLD),
    ("The temperature is -40 °C.", "The temperature is minus 40 °C."),
    ("Die Temperatur beträgt minus 40 Grad.", "Die Temperatur beträgt -40 Grad."),
    ("La temperatura es de menos 40 grados.", "La temperatura es de -40 grados."),
    ("La température est de moins 40 degrés.", "La température est de –40 degrés."),
    ("Sales fell by 5%.", "Sales: -5%."),
    ("The range is 5 to 7 litres.", "The range is 5–7 litres."),
    ("The share is 7%.", "The share is 5%-7%."),
    ("The war of 1914 was lost in 1918.", "The war (1914–1918) was lost."),
    ("It was released on 2 January 2020.", "It was released on 2020-01-02."),
    ("COVID-19 spread in 2020.", "Covid 19 spread in 2020."),
    ("Los 5 miembros votaron.", "Los miembros –5 en total– votaron."),
    # -- bounds
    ("Acme has about 1,250 employees.", STAFF),
    ("Acme has roughly 1.250 employees.", STAFF),
    ("Acme has over 1,250 employees.", "Acme has more than 1,250 employees."),
    ("Acme has no fewer than 1,250 employees.", "Acme has at least 1,250 employees."),
    ("Acme has at least 1,250 employees.", "Acme has 1,250 or more employees."),
    ("Acme has at most 1,250 employees.", "Acme has up to 1,250 employees."),
    ("A password has at least 12 characters.", "The minimum of a password is 12 characters."),
    ("Members own at least 18 stamps.", "Members own from 18 to 30 stamps."),
    ("Mitglieder sind mehr als 18 Jahre alt.", "Mitglieder sind über 18 Jahre alt."),
    ("The work took over five years.", "The work took five years."),
    ("Tiene al menos 5 ruedas.", "Tiene por lo menos 5 ruedas."),
    ("Il a plus de 5 roues.", "Il a plus de 5 roues."),
    ("It holds 5 litres and over 30 stones.", "It holds 5 litres and over 30 stones."),
    # -- units
    ("The debt is $5 million.", "The debt is $5m."),
    ("The fine is $500.", "The fine is 500 USD."),
    ("It costs $5.", "It costs 5 dollars."),
    ("The plan costs $10.", "The plan costs $5-10."),
    ("The plan costs 5 US dollars.", "The plan costs US$5."),
    ("The plan costs $20.", "| plan | $ | 20 |"),
    ("The share is 5%.", "The share is 5, 10 or 15 per cent."),
    ("La parte es el 5%.", "La parte es el 5 por ciento."),
    ("La dette est de 5 millions d'euros.", "La dette est de €5 millions."),
    ("The rate in percent is 5%.", "Rate (percent): 5"),
    # -- months
    ("The club opened in May 2016.", "The club opened in May 2016."),
    ("The club opened in May.", "The club opened in May 2016."),
    ("The club opened in May.", "The club opened on 2016-05-12."),
    ("The club opened on 3 March.", "The club opened on March 3."),
    ("Der Verein begann im März.", "Der Verein begann am 3. März 1990."),
    ("Elle a été fondée en mars 2020.", "Elle a été fondée en mars 2020."),
    ("As of June, there are 20 members.", "As of June 2020, there are 20 members."),
    ("The club closes between June and August.", "The club closes between June and August."),
    # -- names
    ("Will Smith won the prize.", "The prize was won by Will Smith."),
    ("Theresa May won the election.", "Theresa May won the election."),
    ("Mark Twain wrote the book.", "The book was written by Mark Twain."),
    ("Mars has two moons.", "Mars has two moons, Phobos and Deimos."),
    ("May the prize go to Anna.", "The prize may go to Anna."),
    # -- judgements and verdicts
    ("It is true that Acme has 1,250 employees.", STAFF),
    ("It is false that the earth is flat.", "It is not true that the earth is flat."),
    ("The good news is that Acme has 1,250 employees.", STAFF),
    ("The film got good reviews.", "The film got great reviews."),
    ("Great Britain has 1,250 bridges.", "Britain, with its great past, has 1,250 bridges."),
]  # fmt: skip

OTHER = [
    ("The tank holds 5,000 litres", TANK),
    ("The tank holds 5.000 litres", TANK),
    ("The dam holds 7 litres", DAM),
    ("The dam holds 0 litres", DAM),
    ("The tank holds 5,000 litres", "The tank holds 5 litres and 0 stones."),
    ("The tank holds 3 litres", "The tank holds 3.5 litres."),
    ("The tank holds 1,250 litres", "The tank holds 1.25 litres."),
    ("The debt is 12,000 million euros", DEBT),
    ("The debt is 12 million euros", "The debt is 12,000 million euros."),
    ("The debt is 1,250 million euros", "The debt is 1.25 million euros."),
    ("The debt is 12 thousand million euros", "The debt is 12 thousand euros."),
    ("The temperature is 40 degrees", COLD),
    ("The temperature is 40 degrees", "The temperature is −40 degrees."),
    ("The temperature is 40 degrees", "The temperature is minus 40 degrees."),
    ("The temperature is 40 degrees", "The temperature is 40 degrees below zero."),
    ("The tank holds -5 litres", TANK),
    ("The tank holds –5 litres", TANK),
    ("The tank holds minus five litres", TANK),
    ("The loss is -$5", "The loss is $5."),
    ("The temperature is **-40** degrees.", "The temperature is 40 degrees."),
    ("The temperature is − 40 degrees.", "The temperature is 40 degrees."),
    ("The temperature is negative 40 degrees.", "The temperature is 40 degrees."),
    ("The tank holds .5 litres.", TANK),
    ("The tank holds 5k litres.", TANK),
    ("Mars's 146 moons are known.", MOONS),
    ("Mars: 146 known moons", MOONS),
    ("The 146 known moons of Mars", MOONS),
    ("Theresa May won the election.", "Theresa Green won the election."),
    ("Will Smith won the prize.", "Mary Smith won the prize."),
    ("The club opened a second house in May.", "The club opened a second house in June."),
    ("The film is great.", "The film is bad."),
    ("The dose is more than 5 mg.", "The dose is less than 5 mg."),
]

NAMES = ["Mars", "March", "May", "June", "Juin", "Juli", "August", "Will", "Mark", "The planet May"]

QUESTIONS = [
    "",
    "How many employees does Acme have?",
    "Does Acme have more than 1,250 employees?",
    "Does Acme have fewer than 1,250 employees?",
    "Is it false that Acme has 1,250 employees?",
    "What percentage of employees, in dollars, does Acme have?",
    "Is Acme great?",
]

BEYOND = [
    "Acme has fewer than 1,250 employees.",
    "Acme has more than 1,250 employees.",
    "Acme has at least 1,250 employees.",
    "Acme has at most 1,250 employees.",
    "Acme has over 1,250 employees.",
    "Acme has no more than 1,250 employees.",
    "Acme has nearly 1,250 employees.",
    "Acme hat mehr als 1.250 employees.",
    "Acme hat mindestens 1.250 employees.",
    "Acme tiene más de 1.250 employees.",
    "Acme a plus de 1 250 employees.",
    "Acme has 1,250+ employees.",
    "Acme has 1,250 or more employees.",
    "Acme has 1,250 employees at most.",
    "Acme has barely 1,250 employees.",
    "Acme has -1,250 employees.",
    "Acme has 1,250k employees.",
    "Acme has 1,250‰ employees.",
    "Acme has ₹1,250 employees.",
    "Acme has 1,250 percent employees.",
    "Acme has 1,250% employees.",
    "Acme has $1,250 employees.",
    "It is false that Acme has 1,250 employees.",
    "It is a myth that Acme has 1,250 employees.",
    "The claim that Acme has 1,250 employees is wrong.",
    "The claim “Acme has 1,250 employees” is false.",
    "False: Acme has 1,250 employees.",
    "Acme has 1,250 good employees.",
    "Acme has 1,250 bad employees.",
    "Acme employees are great.",
]


@pytest.mark.parametrize(("claim", "quote"), SAME)
def test_the_same_figure_or_name_in_another_form_is_supported(claim: str, quote: str) -> None:
    assert supports(claim, quote)


@pytest.mark.parametrize(("claim", "quote"), OTHER)
def test_another_figure_or_name_is_not_supported(claim: str, quote: str) -> None:
    assert not supports(claim, quote)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_a_month_or_a_verb_too_must_stand_in_the_quote(name: str) -> None:
    assert not supports(f"{name} has 146 known moons", MOONS)
    assert supports(f"{name} has 146 known moons", MOONS.replace("Saturn", name))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("claim", BEYOND)
def test_no_question_gives_a_figure_a_bound_a_unit_or_a_verdict(claim: str, question: str) -> None:
    assert not supports(claim, STAFF, question=question)


@pytest.mark.parametrize("question", QUESTIONS)
def test_about_so_many_is_supported_whatever_the_question(question: str) -> None:
    assert supports("Acme has around 1,250 employees.", STAFF, question=question)


def test_a_range_a_date_and_a_word_hold_no_negative_number() -> None:
    for text in ("5-7", "2020-01-02", "COVID-19 and 5%-7%", "[1]-5", "(a)-5", "- 5 litres"):
        readings = {value for number in figures(text).numbers for value in number.readings}
        assert not any(value.startswith("-") for value in readings), text


def test_a_long_text_of_signs_and_bounds_is_read() -> None:
    for text in ("5-" * 5_000, "more than " * 2_000 + "5", "- " * 10_000 + "-5"):
        assert figures(text).numbers
