"""Other phone alphabets to ARPAbet (the 39 phones of the CMU dictionary and SIL)."""

from __future__ import annotations

ARPABET: frozenset[str] = frozenset(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()  # noqa: SIM905
)
"""The phones of the CMU pronouncing dictionary, without stress."""

_IPA: dict[str, tuple[str, ...]] = {
    # Diphthongs and vowels with r first: the longest match wins.
    "aɪɚ": ("AY", "ER"),
    "aɪə": ("AY", "AH"),
    "aʊɚ": ("AW", "ER"),
    "aʊə": ("AW", "AH"),
    "aɪ": ("AY",),
    "aʊ": ("AW",),
    "eɪ": ("EY",),
    "oʊ": ("OW",),
    "əʊ": ("OW",),
    "ɔɪ": ("OY",),
    "ɪə": ("IH", "AH"),
    "iə": ("IY", "AH"),
    "eə": ("EH", "AH"),
    "ʊə": ("UH", "AH"),
    "əl": ("AH", "L"),
    "tʃ": ("CH",),
    "dʒ": ("JH",),
    "ɑ": ("AA",),
    "a": ("AE",),
    "æ": ("AE",),
    "ɐ": ("AH",),
    "ʌ": ("AH",),
    "ə": ("AH",),
    "ɔ": ("AO",),
    "ɒ": ("AA",),
    "o": ("OW",),
    "ɛ": ("EH",),
    "e": ("EY",),
    "ɜ": ("ER",),
    "ɚ": ("ER",),
    "ɝ": ("ER",),
    "ɪ": ("IH",),
    "ᵻ": ("IH",),
    "ɨ": ("IH",),
    "i": ("IY",),
    "ʊ": ("UH",),
    "u": ("UW",),
    "ʉ": ("UW",),
    "b": ("B",),
    "d": ("D",),
    "ð": ("DH",),
    "f": ("F",),
    "ɡ": ("G",),
    "g": ("G",),
    "h": ("HH",),
    "k": ("K",),
    "x": ("K",),
    "l": ("L",),
    "ɫ": ("L",),
    "m": ("M",),
    "n": ("N",),
    "ŋ": ("NG",),
    "p": ("P",),
    "ɹ": ("R",),
    "r": ("R",),
    "ɾ": ("D",),
    "s": ("S",),
    "ʃ": ("SH",),
    "t": ("T",),
    "ʔ": ("T",),
    "θ": ("TH",),
    "v": ("V",),
    "w": ("W",),
    "ʍ": ("W",),
    "j": ("Y",),
    "z": ("Z",),
    "ʒ": ("ZH",),
}
_LONGEST = max(map(len, _IPA))
_IGNORED = frozenset("ˈˌːˑ̩̯̃ʲʰˠ͡_-|,.; ")


def arpabet_from_ipa(ipa: str) -> list[str]:
    """ARPAbet phones of an English IPA string; stress, length and ties are dropped, unknown signs raise ValueError."""
    signs = "".join(sign for sign in ipa if sign not in _IGNORED)
    phones: list[str] = []
    position = 0
    while position < len(signs):
        for length in range(min(_LONGEST, len(signs) - position), 0, -1):
            found = _IPA.get(signs[position : position + length])
            if found:
                phones += found
                position += length
                break
        else:
            raise ValueError(f"unknown IPA sign {signs[position]!r} in {ipa!r}")
    return phones


_FESTIVAL = {"ax": "AH", "axr": "ER", "ix": "IH", "el": "L", "em": "M", "en": "N", "dx": "D", "hv": "HH", "nx": "N"}
# The British set of festival's rab and kal_diphone voices spells some vowels otherwise.
_BRITISH = {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "UH", "@": "AH", "@@": "ER", "uh": "AH", "oo": "AO"}


def arpabet_from_cmu(name: str) -> str | None:
    """ARPAbet of a phone of flite or festival (radio or cmu set, any case); None for a pause. Raises ValueError."""
    low = name.lower()
    if low in ("pau", "h#", "brth", "sil", "#", "##", "ssil"):
        return None
    found = _FESTIVAL.get(low) or (low.upper() if low.upper() in ARPABET else _BRITISH.get(low))
    if found is None:
        raise ValueError(f"unknown phone {name!r}")
    return found
