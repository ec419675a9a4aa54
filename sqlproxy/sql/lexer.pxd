cdef int END, BAD, WORD, QUOTED, STRING, NUMBER, USERVAR, SYSVAR, ASSIGN, DOT
cdef int MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
cdef int C_LETTER, C_DIGIT, C_SPACE, C_PUNCTUATION, C_SPECIAL, C_BAD
cdef int CERTAIN, UNCERTAIN
cdef unsigned char CLASSES[256]


cdef class Lexer:
    cdef readonly bytes data
    cdef const unsigned char *s
    cdef readonly Py_ssize_t pos, start, name, end
    cdef readonly int mode, kind, inside
    cdef readonly bint mixed, hint

    cpdef int advance(self)
    cdef int peek(self, Py_ssize_t offset)
    cdef int _emit(self, int kind, Py_ssize_t pos)
    cdef int _fail(self)
    cdef int _word(self, Py_ssize_t p)
    cdef Py_ssize_t _multibyte_word(self, Py_ssize_t p)
    cdef Py_ssize_t _digits(self, Py_ssize_t p)
    cdef int _number(self, Py_ssize_t p)
    cdef int _based_number(self, Py_ssize_t begin)
    cdef Py_ssize_t _exponent(self, Py_ssize_t p)
    cdef Py_ssize_t _special(self, Py_ssize_t p, int c)
    cdef int _closed(self, int kind, Py_ssize_t pos)
    cdef bint _hides_comment(self, Py_ssize_t pos)
    cdef Py_ssize_t _string(self, Py_ssize_t p, int quote)
    cdef Py_ssize_t _identifier(self, Py_ssize_t p, int quote)
    cdef Py_ssize_t _multibyte(self, Py_ssize_t p)
    cdef int _dot(self, Py_ssize_t p)
    cdef int _variable(self, Py_ssize_t p)
    cdef Py_ssize_t _name(self, Py_ssize_t p, bint dots)
    cdef int _system_variable(self, Py_ssize_t p)
    cdef bint _is_dash_comment(self, Py_ssize_t p)
    cdef Py_ssize_t _line_comment(self, Py_ssize_t p)
    cdef Py_ssize_t _comment(self, Py_ssize_t p)
    cdef Py_ssize_t _skipped(self, Py_ssize_t begin, Py_ssize_t end)
    cdef Py_ssize_t _enter(self, Py_ssize_t p, bint mariadb)
    cdef Py_ssize_t _leave(self, Py_ssize_t p)
