cimport cython
from sqlproxy.sql.digest cimport digest_hash

cdef extern from *:
    ctypedef unsigned long long u128 "unsigned __int128"

cdef Py_ssize_t _LIMIT
cdef unsigned long long _EXACT, FULL, MASK, SECRET, SEED
cdef int K_PLAIN, K_LETTER, K_DIGIT, K_STRING, K_DOUBLE, K_BACKTICK, K_AT, K_COMMENT, K_MARK
cdef int MARK_NUMBER, MARK_STRING, BLANK
cdef int MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
cdef unsigned char KINDS[256]
cdef unsigned char ORDINARY[256]

@cython.locals(s=cython.p_uchar, end=Py_ssize_t, h=cython.ulonglong, w=cython.ulonglong, p=Py_ssize_t,
               q=Py_ssize_t, raw=Py_ssize_t, c=int, k=int, in_word=int, exact=cython.ulonglong)
cpdef unsigned long long shape_key(bytes data, Py_ssize_t start, int mode) except? 0
@cython.locals(product=u128)
cdef unsigned long long _mix(unsigned long long h, unsigned long long w) noexcept
@cython.locals(s=cython.p_uchar, q=Py_ssize_t, r=Py_ssize_t, stop=Py_ssize_t, fraction=cython.bint)
cdef Py_ssize_t _number(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
@cython.locals(s=cython.p_uchar)
cdef Py_ssize_t _digits(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
@cython.locals(s=cython.p_uchar)
cdef bint _ends(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
@cython.locals(s=cython.p_uchar, escape=int, c=int)
cdef Py_ssize_t _string(bytes data, Py_ssize_t p, Py_ssize_t end, int quote, int mode) noexcept
@cython.locals(s=cython.p_uchar)
cdef Py_ssize_t _identifier(bytes data, Py_ssize_t p, Py_ssize_t end, int quote) noexcept
@cython.locals(s=cython.p_uchar, c=int)
cdef Py_ssize_t _variable(bytes data, Py_ssize_t p, Py_ssize_t end, int mode) noexcept
@cython.locals(s=cython.p_uchar, c=int, following=int, third=int)
cdef Py_ssize_t _comment(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
