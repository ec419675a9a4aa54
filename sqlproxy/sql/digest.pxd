cimport cython
from sqlproxy.sql.lexer cimport Lexer
from sqlproxy.sql.words cimport lookup

cdef int BAD, COMMA, DOT, END, LEFT, NUMBER, QUOTED, RIGHT, SEMICOLON, STRING, USERVAR, WORD
cdef int LIMIT, LONGEST, PLACEHOLDER
cdef unsigned long long FNV_OFFSET, FNV_PRIME, MASK
cdef unsigned char IS_RESERVED[1024]
cdef unsigned char COMPUTES[1024]


cdef class Digest(Lexer):
    cdef bytearray out
    cdef readonly Py_ssize_t limit
    cdef readonly list breaks
    cdef readonly bint understood
    cdef readonly Py_ssize_t length
    cdef readonly unsigned long long hash
    cdef int last, last_word, token_last
    cdef Py_ssize_t last_start, last_stop, list_length, row_length, group_length, token_length
    cdef unsigned long long list_hash, row_hash, group_hash, token_hash
    cdef bint unary

    cdef void open(self) noexcept
    cpdef keep_whole(self, Py_ssize_t limit)
    @cython.locals(kind=cython.int, ended=cython.bint)
    cpdef void run(self) noexcept
    cpdef bytes text(self)
    cdef void _token(self, int kind) noexcept
    cdef void _value(self, int kind) noexcept
    @cython.locals(first=cython.int, single=cython.bint)
    cdef bint _is_introduced(self) noexcept
    cdef void _literal(self) noexcept
    @cython.locals(word=cython.int, called=cython.bint)
    cdef void _word_token(self) noexcept
    @cython.locals(p=cython.Py_ssize_t, c=cython.int)
    cdef void _copy(self, bint upper) noexcept
    @cython.locals(called=cython.bint, row_length=cython.Py_ssize_t)
    cdef void _left(self) noexcept
    @cython.locals(byte=cython.int)
    cdef void _right(self) noexcept
    cdef void _group(self, Py_ssize_t length, unsigned long long value) noexcept
    @cython.locals(sign=cython.bint, inside=cython.Py_ssize_t)
    cdef void _other(self, int kind) noexcept
    @cython.locals(last=cython.int)
    cdef bint _is_operand(self) noexcept
    cdef void _break(self) noexcept
    cdef void _remember(self) noexcept
    cdef void _back(self) noexcept
    @cython.locals(last=cython.int)
    cdef void _space(self, int kind) noexcept
    cdef void _put(self, int byte) noexcept


cdef bint _is_operator(int kind) noexcept
cpdef bytes digest(bytes data, Py_ssize_t start=*, int mode=*)
cpdef unsigned long long digest_hash(bytes data, Py_ssize_t start=*, int mode=*) except? 0
@cython.locals(shape=Digest, text=bytes, breaks=list)
cpdef list shapes(bytes data, Py_ssize_t start=*, int mode=*)
@cython.locals(byte=cython.int, value=cython.ulonglong)
cpdef unsigned long long hash_of(bytes shape) except? 0
