"""Chunks that are split in their own way: contractions, abbreviations, times of day, emoticons; and units.

They are spaCy 3.8's for English (`spacy.lang.en.tokenizer_exceptions`, `spacy.lang.tokenizer_exceptions` and
`spacy.lang.char_classes`; MIT licence, copyright 2016-2024 ExplosionAI GmbH).
"""

import string
from collections.abc import Iterator
from itertools import product

_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS = ("who", "what", "when", "where", "why", "how", "there")
_SINGULAR = ("that", "this")
_PLURAL = ("these", "those")
_AUXILIARIES = "ca could do does did had may might must need ought sha should wo would"
# Who is contracted, and with what; a bar parts what is several words.
_CONTRACTIONS = (
    (("i",), "'m 'm|a"),
    ((*_PRONOUNS, *_QUESTIONS, *_SINGULAR, *_PLURAL), "'ll 'll|'ve 'd 'd|'ve"),
    (("i", "you", "we", "they", *_QUESTIONS, *_PLURAL), "'ve"),
    (("you", "we", "they", *_QUESTIONS, *_PLURAL), "'re"),
    (("he", "she", "it", *_QUESTIONS, *_SINGULAR), "'s"),
    (tuple(_AUXILIARIES.split()), "n't n't|'ve"),
    (("could", "might", "must", "should", "would"), "'ve"),
    (("ai", "are", "is", "was", "were", "have", "has", "dare"), "n't"),
)
# Without its apostrophe a contraction may be another word.
_OTHER_WORDS = ("ill", "its", "hell", "shell", "shed", "were", "well", "whore")
_WITHOUT_LAST_LETTER = ("doin", "goin", "nothin", "nuthin", "ol", "somethin")
_WITHOUT_FIRST_LETTERS = ("em", "ll", "nuff")
_DEGREES = "cfkCFK"

# Each list in one string: the bars part words of one chunk, white space parts chunks.
_OTHER_CONTRACTIONS = """
y'|all y|all how|'d|'y How|'d|'y not|'ve not|ve Not|'ve Not|ve can|not Can|not gon|na Gon|na got|ta Got|ta let|'s Let|'s
c'm|on C'm|on
"""
_WHOLE = r"""
'S 's ‘S ‘s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am Ma'am o'clock O'clock lovin' Lovin'
lovin Lovin havin' Havin' havin Havin \t \n — ' \") <space> '' C++ ä. ö. ü.
"""  # noqa: RUF001
_ABBREVIATIONS = """
Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans.
Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep.
Sept. Tenn. Va. Wash. Wis. 'd a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr.
Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s.
"""
_EMOTICONS = r"""
:) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( :(( :-((
:((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :*
:-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__-
v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) (>_<)
(*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>
"""  # noqa: RUF001
_UNITS = """
km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa mbar mb
MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч кПа Па мбар Кб КБ
кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام جرام جم كغ ملغ كوب اكواب
"""  # noqa: RUF001


def special_cases() -> dict[str, tuple[str, ...]]:
    """Every special case with the words that it is split into."""
    cases = {"".join(words): words for words in _contractions()}
    for word in _OTHER_WORDS:
        cases.pop(word, None)
        cases.pop(word.title(), None)
    wholes = (_WHOLE + _ABBREVIATIONS + _EMOTICONS).split()
    cases |= {whole: (whole,) for whole in [*wholes, *(f"{letter}." for letter in string.ascii_lowercase)]}
    with_curly_quotes = {
        case.replace("'", "’"): tuple(word.replace("'", "’") for word in words)  # noqa: RUF001
        for case, words in cases.items()
    }
    return with_curly_quotes | cases | {f"°{scale}.": ("°", scale, ".") for scale in _DEGREES}


def units() -> tuple[str, ...]:
    """Units of measurement, which are cut off behind a digit."""
    return tuple(_UNITS.split())


def _contractions() -> Iterator[tuple[str, ...]]:
    """As words, with their apostrophes and, since many leave them out, without."""
    for starts, endings in _CONTRACTIONS:
        for start, ending in product(starts, endings.split()):
            for first in (start, start.title()):
                yield (first, *ending.split("|"))
                yield (first, *ending.replace("'", "").split("|"))
    for entry in _OTHER_CONTRACTIONS.split():
        yield tuple(entry.split("|"))
    for word in _WITHOUT_LAST_LETTER:
        for form in (word, word.title()):
            yield from ((form,), (f"{form}'",))
    for word in _WITHOUT_FIRST_LETTERS:
        yield from ((word,), (f"'{word}",))
    yield from product(map(str, range(1, 13)), ("a.m.", "am", "p.m.", "pm"))
