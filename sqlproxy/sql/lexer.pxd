cimport cython

cdef int END, BAD, WORD, QUOTED, STRING, NUMBER, USERVAR, SYSVAR, ASSIGN, DOT
cdef int MODE_ANSI_QUOTES, MODE_DOUBLE, MODE_KANA, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
cdef int C_LETTER, C_DIGIT, C_SPACE, C_PUNCTUATION, C_SPECIAL, C_BAD
cdef int CERTAIN, UNCERTAIN
cdef unsigned char CLASSES[256]
cdef unsigned char ORDINARY[256]


cdef class Lexer:
    cdef readonly bytes data
    cdef const unsigned char *s
    cdef readonly Py_ssize_t pos, start, name, end
    cdef readonly int mode, kind, inside
    cdef readonly bint mixed, hint

    cdef void begin(self, bytes data, Py_ssize_t start, int mode) noexcept
    cdef void open(self) noexcept
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.int, k=cython.int)
    cpdef int advance(self) except -9
    cdef int peek(self, Py_ssize_t offset) noexcept
    cdef int _emit(self, int kind, Py_ssize_t pos) noexcept
    cdef int _fail(self) noexcept
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cdef int _word(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cdef Py_ssize_t _multibyte_word(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cdef Py_ssize_t _digits(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t, q=cython.Py_ssize_t, begin=cython.Py_ssize_t, c=cython.int)
    cdef int _number(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t, begin=cython.Py_ssize_t, end=cython.Py_ssize_t, hexadecimal=cython.bint)
    cdef int _based_number(self, Py_ssize_t begin) noexcept
    @cython.locals(p=cython.Py_ssize_t, q=cython.Py_ssize_t, r=cython.Py_ssize_t, c=cython.int)
    cdef Py_ssize_t _exponent(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t)
    cdef Py_ssize_t _special(self, Py_ssize_t p, int c) except -9
    cdef int _closed(self, int kind, Py_ssize_t pos) except -9
    cdef bint _hides_comment(self, Py_ssize_t pos) except -9
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.int, escape=cython.int, multibyte=cython.int)
    cdef Py_ssize_t _string(self, Py_ssize_t p, int quote) noexcept
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t, c=cython.int, multibyte=cython.int)
    cdef Py_ssize_t _identifier(self, Py_ssize_t p, int quote) noexcept
    @cython.locals(trail=cython.int)
    cdef Py_ssize_t _multibyte(self, Py_ssize_t p) noexcept
    @cython.locals(c=cython.int)
    cdef int _dot(self, Py_ssize_t p) noexcept
    @cython.locals(c=cython.int, q=cython.Py_ssize_t)
    cdef int _variable(self, Py_ssize_t p) except -9
    @cython.locals(p=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cdef Py_ssize_t _name(self, Py_ssize_t p, bint dots) noexcept
    @cython.locals(p=cython.Py_ssize_t, q=cython.Py_ssize_t)
    cdef int _system_variable(self, Py_ssize_t p) except -9
    @cython.locals(c=cython.int)
    cdef bint _is_dash_comment(self, Py_ssize_t p) noexcept
    @cython.locals(p=cython.Py_ssize_t, begin=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cdef Py_ssize_t _line_comment(self, Py_ssize_t p) except -9
    @cython.locals(c=cython.int, q=cython.Py_ssize_t)
    cdef Py_ssize_t _comment(self, Py_ssize_t p) except -9
    cdef Py_ssize_t _skipped(self, Py_ssize_t begin, Py_ssize_t end) except -9
    @cython.locals(digits=cython.Py_ssize_t, p=cython.Py_ssize_t, version=cython.long)
    cdef Py_ssize_t _enter(self, Py_ssize_t p, bint mariadb) except -9
    cdef Py_ssize_t _leave(self, Py_ssize_t p) except -9


cdef bint _is_digit_of(int c, bint hexadecimal) noexcept
