"""Other phone alphabets to ARPAbet (the 39 phones of the CMU dictionary and SIL)."""

from __future__ import annotations

import unicodedata

ARPABET: frozenset[str] = frozenset(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()  # noqa: SIM905
)
"""The phones of the CMU pronouncing dictionary, without stress."""

BILABIALS: frozenset[str] = frozenset({"P", "B", "M"})
"""The phones for which both lips close."""

_SILENCES = frozenset({"", "SIL", "SSIL", "SP", "SPN", "NSN", "PAU", "BRTH", "H#", "#", "##", "_"})


def is_silence(name: str) -> bool:
    """Whether an aligner or synthesiser means silence, breath or noise: `SIL`, `pau`, `h#`, `<eps>`, `+SPN+`, ..."""
    return name.upper() in _SILENCES or name.startswith(("+", "<", "["))


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
_IPA_ELSEWHERE: dict[str, tuple[str, ...]] = _IPA | {
    # Vowels are pure, and as open and as round as they are written.
    "a": ("AA",),
    "e": ("EH",),
    "o": ("AO",),
    "ɵ": ("AO",),
    "ɤ": ("AH",),
    "y": ("UW",),
    "ʏ": ("UH",),
    "ø": ("UW",),
    "œ": ("ER",),
    "ɯ": ("IH",),
    "ai": ("AY",),
    "au": ("AW",),
    "ɑu": ("AW",),
    "ei": ("EY",),
    "ou": ("OW",),
    "æ": ("AE",),
    # Consonants: where and how the mouth narrows, not the voice.
    "ph": ("P",),
    "th": ("T",),
    "kh": ("K",),
    "ts": ("T", "S"),
    "tsh": ("T", "S"),
    "tɕ": ("CH",),
    "tɕh": ("CH",),
    "dʑ": ("JH",),
    "ɕ": ("SH",),
    "ʂ": ("SH",),
    "ʑ": ("ZH",),
    "ʐ": ("ZH",),
    "β": ("V",),
    "ɸ": ("W",),
    "ʋ": ("V",),
    "ɥ": ("W",),
    "ɲ": ("N",),
    "ɳ": ("N",),
    "ɴ": ("NG",),
    "ʎ": ("L",),
    "ɭ": ("L",),
    "ʈ": ("T",),
    "ɖ": ("D",),
    "c": ("K",),
    "ɟ": ("G",),
    "q": ("K",),
    "x": ("HH",),
    "χ": ("HH",),
    "ç": ("HH",),
    "ɦ": ("HH",),
    "ħ": ("HH",),
    "ʁ": ("HH",),
    "ɣ": ("HH",),
    "ʕ": ("HH",),
    "ʝ": ("Y",),
    "ɽ": ("R",),
    "ʀ": ("R",),
    "ɻ": ("R",),
}
"""Sounds of other languages, each as the English one that the mouth looks most alike for."""
_LONGEST = max(map(len, _IPA_ELSEWHERE))
_IGNORED = frozenset('ˈˌːˑˠᵝʲʰ_-|,.;" 12345')
_CEDILLA = "\N{COMBINING CEDILLA}"


def arpabet_from_ipa(ipa: str, english: bool = True) -> list[str]:
    """ARPAbet phones of an IPA string; stress, length, ties, tones and nasality are dropped, unknown signs raise
    ValueError.

    What is not `english` becomes the phones whose mouth is nearest, all that faces need to know.
    """
    table = _IPA if english else _IPA_ELSEWHERE
    signs = unicodedata.normalize("NFC", "".join(s for s in unicodedata.normalize("NFD", ipa) if not _dropped(s)))
    phones: list[str] = []
    position = 0
    while position < len(signs):
        for length in range(min(_LONGEST, len(signs) - position), 0, -1):
            found = table.get(signs[position : position + length])
            if found:
                phones += found
                position += length
                break
        else:
            raise ValueError(f"unknown IPA sign {signs[position]!r} in {ipa!r}")
    return phones


def _dropped(sign: str) -> bool:
    return sign in _IGNORED or (unicodedata.combining(sign) > 0 and sign != _CEDILLA)


_FESTIVAL = {"ax": "AH", "axr": "ER", "ix": "IH", "el": "L", "em": "M", "en": "N", "dx": "D", "hv": "HH", "nx": "N"}
# The British set of festival's rab and kal_diphone voices spells some vowels otherwise.
_BRITISH = {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "UH", "@": "AH", "": "ER", "uh": "AH", "oo": "AO"}


def arpabet_from_cmu(name: str) -> str | None:
    """ARPAbet of a phone of flite or festival (radio or cmu set, any case); None for a pause. Raises ValueError."""
    if is_silence(name):
        return None
    low = name.lower()
    found = _FESTIVAL.get(low) or (low.upper() if low.upper() in ARPABET else _BRITISH.get(low))
    if found is None:
        raise ValueError(f"unknown phone {name!r}")
    return found
