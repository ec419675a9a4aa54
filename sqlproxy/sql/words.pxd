cimport cython

cdef int LONGEST, SLOT_COUNT
cdef unsigned short SLOTS[8192]
cdef unsigned short OFFSETS[1024]
cdef const unsigned char *TEXTS

@cython.locals(h=cython.Py_ssize_t)

cdef Py_ssize_t hash_of(const unsigned char *s, Py_ssize_t start, Py_ssize_t length) noexcept
@cython.locals(length=cython.Py_ssize_t, slot=cython.Py_ssize_t, number=cython.int)
cpdef int lookup(const unsigned char *s, Py_ssize_t start, Py_ssize_t stop) noexcept
@cython.locals(i=cython.Py_ssize_t)
cdef bint _same(const unsigned char *s, Py_ssize_t start, Py_ssize_t length, Py_ssize_t offset) noexcept
