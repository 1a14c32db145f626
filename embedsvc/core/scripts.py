"""Scripts that put no spaces between words, as ranges for the brackets of a regular expression."""

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"  # Han
)

HANGUL = "\uac00-\ud7a3"
"""Korean has spaces, but its words carry their particles."""
