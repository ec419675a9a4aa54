import cython

cdef Py_ssize_t _TEXT, HEADER, MAX_PAYLOAD

cpdef Py_ssize_t block_length(bytes command) except -1
@cython.locals(size=Py_ssize_t)
cpdef bytes without_block(bytes command, Py_ssize_t length)
@cython.locals(size=Py_ssize_t)
cpdef bytes with_block(bytes command, bytes block)
