"""The kinds of token the lexer knows. A kind of 32 or more is one ASCII character standing for itself."""

from typing import Final

END: Final = 0  # of the text
BAD: Final = 1  # not understood: unterminated, a stray control byte, an ambiguous multi-byte character
WORD: Final = 2  # a keyword or an unquoted identifier
QUOTED: Final = 3  # an identifier in backticks, or in double quotes under ANSI_QUOTES
STRING: Final = 4
NUMBER: Final = 5  # also 0x… and 0b…; x'…' is a WORD and a STRING
USERVAR: Final = 6  # @name with any quotes
SYSVAR: Final = 7  # @@name, @@scope.name
ASSIGN: Final = 8  # :=

LEFT: Final = 40  # (
RIGHT: Final = 41  # )
STAR: Final = 42
COMMA: Final = 44
DOT: Final = 46
SEMICOLON: Final = 59
EQUAL: Final = 61
