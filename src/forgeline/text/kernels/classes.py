"""Bits of a character's class. The table that holds them for every code point is made in `text.quality.characters`."""

# What Unicode, and Python's str methods, say
SPACE = 1 << 0  # str.isspace
LINE_BREAK = 1 << 1  # where str.splitlines cuts
LETTER = 1 << 2  # str.isalpha
PUNCTUATION = 1 << 3  # category P
DECIMAL = 1 << 4  # category Nd
MARK = 1 << 5  # category M: belongs to the letter before it
IDENTIFIER = 1 << 6  # \w of a regular expression
UNSPACED = 1 << 7  # a letter of a script without spaces between words

# What the quality rules ask
SYMBOL = 1 << 8  # a word of nothing else is not counted as a word
SENTENCE_END = 1 << 9
LINE_END = 1 << 10  # terminal punctuation of any script
COUNTED = 1 << 11  # full stop, ellipsis, hash sign, opening brackets

# What the rules of word splitting ask
ALPHABETIC = 1 << 12
LOWER = 1 << 13  # of a script without case, every letter is both
UPPER = 1 << 14
DIGIT = 1 << 15  # 0 to 9
QUOTE = 1 << 16
CURRENCY = 1 << 17
PREFIX = 1 << 18  # cut off at the front of a chunk
SUFFIX = 1 << 19  # cut off at its end
ICON = 1 << 20  # a word wherever it stands
FULL_STOP_FOLLOWS = 1 << 21  # a full stop after it is cut off
OPERATOR = 1 << 22  # parts digits
DASH = 1 << 23  # parts a letter or digit from a letter
SEPARATOR = 1 << 24  # likewise
SCHEME = 1 << 25  # in the scheme of an address
HOST = 1 << 26  # in the name of a host
HOST_INSIDE = 1 << 27  # likewise, but not at the ends of a label
PATH_START = 1 << 28  # after the name of a host
SPECIAL_FIRST = 1 << 29  # the first character of a special case that the rules would cut
SPECIAL_SECOND = 1 << 30  # the first character of such a case's second word

# Classes of single bytes, for text that is mostly ASCII
BYTE_OTHER = 0
BYTE_LETTER = 1
BYTE_DIGIT = 2
BYTE_SPACE = 3  # the space itself
BYTE_WHITE = 4  # other white space
BYTE_MARK = 5  # punctuation that always is a word of its own after a letter
BYTE_FULL_STOP = 6
BYTE_HIGH = 7  # part of a character beyond ASCII
