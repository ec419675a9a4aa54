cimport cython
from sqlproxy.sql.digest cimport digest_hash

cdef Py_ssize_t _LIMIT
cdef unsigned long long OFFSET, PRIME, MASK
cdef int K_LETTER, K_DIGIT, K_PLAIN, K_QUOTE, K_AT, K_COMMENT, MARK_NUMBER, MARK_STRING
cdef int MODE_ANSI_QUOTES, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
cdef unsigned char KINDS[256]

@cython.locals(s=cython.p_uchar, end=Py_ssize_t, h=cython.ulonglong, p=Py_ssize_t, q=Py_ssize_t, c=int, k=int)
cpdef unsigned long long shape_key(bytes data, Py_ssize_t start, int mode) except? 0
@cython.locals(s=cython.p_uchar)
cdef Py_ssize_t _word(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
@cython.locals(s=cython.p_uchar, q=Py_ssize_t)
cdef Py_ssize_t _number(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
@cython.locals(s=cython.p_uchar, escape=int, c=int)
cdef Py_ssize_t _quoted(bytes data, Py_ssize_t p, Py_ssize_t end, int quote, int mode) noexcept
@cython.locals(s=cython.p_uchar)
cdef Py_ssize_t _variable(bytes data, Py_ssize_t p, Py_ssize_t end, int mode) noexcept
@cython.locals(s=cython.p_uchar, c=int, following=int, third=int)
cdef Py_ssize_t _comment(bytes data, Py_ssize_t p, Py_ssize_t end) noexcept
